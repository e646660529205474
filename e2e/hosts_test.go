package e2e

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// A hosts is a network of hosts with addresses of their own, in namespaces of
// this machine's network.
//
//	10.231.N.254   10.231.N.1    .2    .3 ...
//	  the test ─── bridge ──┬─────┬─────┐
type hosts struct {
	t      *testing.T
	prefix string // of names
	net    string // the first three bytes of addresses
	n      int
}

// networks counts those of this process.
var networks atomic.Uint32

// newHosts makes the network. It takes root and iproute2, and a kernel that
// lets it.
func newHosts(t *testing.T) *hosts {
	t.Helper()
	if os.Geteuid() != 0 {
		testkit.Missing(t, "root, for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		testkit.Missing(t, "ip of iproute2")
	}
	// Names of a test before may be in use for a moment after it.
	own := fnv.New32a()
	fmt.Fprint(own, os.Getpid(), t.Name())
	// Two networks at once must not have an address in common.
	n := (uint32(os.Getpid()) + networks.Add(1)) % 250
	h := &hosts{t: t, prefix: fmt.Sprintf("cc%06x", own.Sum32()&0xffffff), net: fmt.Sprintf("10.231.%d", n)}
	if out, err := exec.Command("ip", "link", "add", h.prefix, "type", "bridge").CombinedOutput(); err != nil {
		testkit.Missing(t, fmt.Sprintf("a kernel that lets this process make network devices (%s)", strings.TrimSpace(string(out))))
	}
	t.Cleanup(func() { h.ip("link", "del", h.prefix) })
	h.ip("addr", "add", h.net+".254/24", "dev", h.prefix)
	h.ip("link", "set", h.prefix, "up")
	return h
}

func (h *hosts) ip(args ...string) {
	h.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		h.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// A host is one of them.
type host struct {
	net  *hosts
	name string // of its namespace
	port string // of the bridge
	addr string
}

func (h *hosts) add() *host {
	h.t.Helper()
	h.n++
	o := &host{
		net: h, name: fmt.Sprintf("%s-%d", h.prefix, h.n), port: fmt.Sprintf("%sp%d", h.prefix, h.n),
		addr: fmt.Sprintf("%s.%d", h.net, h.n),
	}
	h.ip("netns", "add", o.name)
	h.t.Cleanup(func() { h.ip("netns", "del", o.name) })
	h.ip("link", "add", o.port, "type", "veth", "peer", "name", "eth0", "netns", o.name)
	h.ip("link", "set", o.port, "master", h.prefix)
	h.ip("link", "set", o.port, "up")
	o.ip("addr", "add", o.addr+"/24", "dev", "eth0")
	o.ip("link", "set", "eth0", "up")
	o.ip("link", "set", "lo", "up")
	return o
}

// addMany adds so many.
func (h *hosts) addMany(n int) (all []*host) {
	h.t.Helper()
	for range n {
		all = append(all, h.add())
	}
	return all
}

// ip runs ip within the host.
func (o *host) ip(args ...string) {
	o.net.t.Helper()
	o.net.ip(append([]string{"-netns", o.name}, args...)...)
}

// run is the command line that runs a program in the host.
func (o *host) run(args ...string) []string {
	return append([]string{"netns", "exec", o.name}, args...)
}

// lend listens on the host for what listens on a loopback address of the test's
// own network, and returns where. A socket stays in the namespace in which it
// was made, whoever uses it.
func (o *host) lend(address string) string {
	o.net.t.Helper()
	t := o.net.t
	var l net.Listener
	err := o.within(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(o.addr, "0"))
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s: %v", o.addr, err)
	}
	var all sync.WaitGroup
	all.Go(func() { relay(l, address) })
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// within calls f on a thread that is in the host's namespace meanwhile. The
// thread must not end: the kernel would kill the processes that it has started,
// which ask for that.
func (o *host) within(f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	there, err := os.Open("/run/netns/" + o.name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // with the thread still locked: it is of no use to others
	}
	runtime.UnlockOSThread()
	return err
}

// relay passes on what comes until the listener is closed, and returns when all
// is done.
func relay(l net.Listener, to string) {
	var all sync.WaitGroup
	var conns sync.Map // those that are open, to be closed at the end
	for {
		from, err := l.Accept()
		if err != nil {
			break
		}
		all.Go(func() {
			defer from.Close()
			there, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer there.Close()
			conns.Store(from, nil)
			defer conns.Delete(from)
			both := make(chan struct{}, 2)
			pass := func(w, r net.Conn) { _, _ = io.Copy(w, r); both <- struct{}{} }
			go pass(there, from)
			go pass(from, there)
			<-both // whichever end goes first takes the other along
			_, _ = from.Close(), there.Close()
			<-both
		})
	}
	conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	all.Wait()
}

// unplug cuts the host off from all others.
func (o *host) unplug() { o.net.ip("link", "set", o.port, "down") }

func (o *host) plug() { o.net.ip("link", "set", o.port, "up") }

// deafTo drops what this host sends to another: that is heard, but hears
// nothing back.
func (o *host) deafTo(other *host) { o.ip("route", "add", "blackhole", other.addr+"/32") }

func (o *host) hears(other *host) { o.ip("route", "del", "blackhole", other.addr+"/32") }
