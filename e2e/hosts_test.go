package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

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
	n := os.Getpid() % 250
	h := &hosts{t: t, prefix: fmt.Sprintf("cc%d", os.Getpid()%100_000), net: fmt.Sprintf("10.231.%d", n)}
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

// ip runs ip within the host.
func (o *host) ip(args ...string) {
	o.net.t.Helper()
	o.net.ip(append([]string{"-netns", o.name}, args...)...)
}

// run is the command line that runs a program in the host.
func (o *host) run(args ...string) []string {
	return append([]string{"netns", "exec", o.name}, args...)
}

// unplug cuts the host off from all others.
func (o *host) unplug() { o.net.ip("link", "set", o.port, "down") }

func (o *host) plug() { o.net.ip("link", "set", o.port, "up") }

// deafTo drops what this host sends to another: that is heard, but hears
// nothing back.
func (o *host) deafTo(other *host) { o.ip("route", "add", "blackhole", other.addr+"/32") }

func (o *host) hears(other *host) { o.ip("route", "del", "blackhole", other.addr+"/32") }
