package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// childVariable has the path of the store for a replica in a process of its own.
const childVariable = "COATCHECK_TEST_CLUSTER_CHILD"

// A report is what a child says of itself.
type childReport struct {
	Name, URL, Ref     string
	Confirmed, Lost    bool
	Fenced, Reappeared bool
}

// runChild is the replica: it makes a session, claims it and serves until it is
// killed. Asked at /report it says how it stands, and tries to write for its
// session with the epoch of its claim.
func runChild(path string) error {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	n, err := Join(ctx, store, Options{Namespace: namespace, Advertise: url})
	if err != nil {
		return err
	}
	ref, err := state.NewRef(1, randomness{})
	if err != nil {
		return err
	}
	key := state.Key{Namespace: namespace, Ref: ref}
	if _, err := state.Do(ctx, store, state.CreateOp{
		Record: state.Record{Namespace: namespace, Kind: "session", Ref: ref}, Idle: time.Hour, Lifetime: time.Hour,
	}); err != nil {
		return err
	}
	first, lost := n.Name(), n.Lost()
	epoch, err := n.Claim(ctx, key, 0)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(PeerPath, n.Peers())
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := n.Forwarded(r); err != nil {
			Refuse(w, err)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) {
		confirmed := n.Confirmed() // before anything else has time to happen
		_, err := state.Do(ctx, store, state.TouchOp{Key: key, Idle: time.Hour, Epoch: epoch})
		_ = json.NewEncoder(w).Encode(childReport{
			Name: n.Name(), Confirmed: confirmed, Lost: isClosed(lost),
			Fenced: errors.Is(err, state.ErrFenced), Reappeared: n.Name() != first,
		})
	})
	if err := json.NewEncoder(os.Stdout).Encode(childReport{Name: first, URL: url, Ref: ref.String()}); err != nil {
		return err
	}
	return http.Serve(l, mux)
}

// startChild starts the replica, which ends with the test.
func startChild(t *testing.T, path string) (*exec.Cmd, childReport) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var report childReport
	if err != nil || json.Unmarshal(line, &report) != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		once.Do(func() {})
		t.Fatalf("the replica did not start: %v %q %s", err, line, errs.String())
	}
	return cmd, report
}

func (c *childReport) ask(t *testing.T) childReport {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.URL+"/report", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var report childReport
	if err := json.NewDecoder(res.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	return report
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A real process is stopped in the middle of everything, its session taken over,
// and is woken: it serves nothing any more, none of its writes is accepted, and
// it goes on as somebody else.
func TestStoppedReplicaIsTakenOverAndFencedWhenItWakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	cmd, child := startChild(t, path)
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	n, err := Join(t.Context(), store, Options{Namespace: namespace, Advertise: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	ref, err := state.ParseRef(child.Ref)
	if err != nil {
		t.Fatal(err)
	}
	key := state.Key{Namespace: namespace, Ref: ref}

	// Whole, it serves what is forwarded.
	eventually(t, "the owner serves a forwarded request", func() bool {
		p, err := n.Locate(t.Context(), child.Name)
		if err != nil || p.Where != Elsewhere {
			t.Logf("located %v, %v", p.Where, err)
			return false
		}
		rec := httptest.NewRecorder()
		err = n.Forward(rec, httpRequest("POST", "/mcp", "x"), p.Member, Forwarding{Ref: ref, Body: []byte("hello")})
		return err == nil && rec.Body.String() == "hello"
	})
	if got := child.ask(t); !got.Confirmed || got.Fenced || got.Lost {
		t.Fatalf("before: %+v", got)
	}

	testkit.Suspend(t, cmd.Process.Pid)
	err = n.Forward(httptest.NewRecorder(), httpRequest("POST", "/mcp", "x"), Member{Name: child.Name}, Forwarding{Ref: ref, Body: []byte("lost")})
	mustFailWith(t, err, ErrLost)
	eventually(t, "its session can be taken over", func() bool {
		p, err := n.Locate(t.Context(), child.Name)
		if err != nil || p.Where != Free {
			return false
		}
		rec, err := store.Get(t.Context(), key)
		if err != nil {
			return false
		}
		_, err = n.Claim(t.Context(), key, rec.Epoch)
		return err == nil
	})
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// It is confirmed again only under another name.
	eventually(t, "it goes on under another name", func() bool {
		got := child.ask(t)
		if !got.Fenced {
			t.Errorf("a write of the former owner was accepted: %+v", got)
		}
		if got.Confirmed && !got.Reappeared {
			t.Errorf("it serves under its old name: %+v", got)
		}
		return got.Confirmed && got.Reappeared && got.Lost
	})
	if rec, err := store.Get(t.Context(), key); err != nil || rec.Owner != n.Name() {
		t.Errorf("the session's owner is %s, %v", rec.Owner, err)
	}
}

// A real database is stopped for many timeouts. Nobody serves meanwhile, and
// nobody is retired for it.
func TestStoppedDatabaseRetiresNobody(t *testing.T) {
	server := redisserver.Start(t)
	const timeout = time.Second
	var nodes []*Node
	var names []string
	for i := range 3 {
		store, err := redis.OpenURL(t.Context(), "redis://"+server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		n, err := Join(t.Context(), store, Options{Namespace: namespace, Advertise: fmt.Sprintf("http://127.0.0.1:%d", i+1), Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		nodes, names = append(nodes, n), append(names, n.Name())
	}
	all := func(cond func(*Node) bool) bool {
		for _, n := range nodes {
			if !cond(n) {
				return false
			}
		}
		return true
	}
	eventually(t, "all know each other", func() bool {
		return all(func(n *Node) bool {
			m, err := n.Members(t.Context())
			return err == nil && len(m) == 3 && n.Confirmed()
		})
	})
	server.Suspend()
	eventually(t, "nobody is confirmed", func() bool { return all(func(n *Node) bool { return !n.Confirmed() }) })
	time.Sleep(3 * timeout) // goes on for longer: what is tested is that time
	server.Resume()
	eventually(t, "all are confirmed", func() bool { return all((*Node).Confirmed) })
	for i, n := range nodes {
		if n.Name() != names[i] {
			t.Errorf("replica %d was retired", i)
		}
	}
	for _, n := range nodes {
		for _, name := range names {
			if p, err := n.Locate(t.Context(), name); err == nil && p.Where == Free {
				t.Errorf("%s is free", name)
			}
		}
	}
}
