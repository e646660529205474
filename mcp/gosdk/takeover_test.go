package gosdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// die has a replica go without a word: nothing reaches it, and it reaches no
// store.
func (r *replica) die() {
	r.gone.Store(true)
	r.store.cut.Store(true)
	r.web.CloseClientConnections()
	r.web.Listener.Close()
}

// others returns the replicas but for one.
func (rs *replicas) others(than *replica) []*replica {
	var out []*replica
	for _, r := range rs.all {
		if r != than {
			out = append(out, r)
		}
	}
	return out
}

// record reads the only session as it is stored.
func (rs *replicas) record() state.Record {
	rs.t.Helper()
	for r, err := range rs.store.List(rs.t.Context(), state.Query{Namespace: "default", Kind: "session"}) {
		if err != nil {
			rs.t.Fatal(err)
		}
		return r
	}
	rs.t.Fatal("no session is stored")
	return state.Record{}
}

func TestAnotherReplicaTakesOverWhenTheOwnerIsGone(t *testing.T) {
	rs := newReplicas(t, 3)
	p := rs.connect()
	p.add("hat")
	owner := rs.liveAt()
	before := rs.record()
	owner.die()
	began := time.Now()
	eventually(t, "an answer", func() bool { _, err := p.try("about", nil); return err == nil })
	t.Logf("taken over after %v, with a heartbeat timeout of %v", time.Since(began), rs.timeout)
	if got := fmt.Sprint(p.add("scarf")["items"]); got != "[hat scarf]" {
		t.Errorf("the basket has %s", got)
	}
	everything(t, nil, p)
	after := rs.record()
	if after.Owner == before.Owner || after.Epoch <= before.Epoch {
		t.Errorf("owner %s at epoch %d, before %s at %d", after.Owner, after.Epoch, before.Owner, before.Epoch)
	}
}

// The owner is cut off from the store while a tool runs. Others take the
// session over. When it is back, what its tool writes is refused, and the
// session is not live in it any more.
func TestAFormerOwnersToolsCannotWrite(t *testing.T) {
	rs := newReplicas(t, 2)
	writes := make(chan error, 1)
	wake := make(chan struct{})
	for _, r := range rs.all {
		mcp.AddTool(r.server, &mcp.Tool{Name: "stubborn"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, struct{}, error) {
			s, _ := FromContext(ctx)
			r.tools.started <- "stubborn"
			<-wake
			ctx = context.WithoutCancel(ctx)
			writes <- s.Set(ctx, "late", true)
			return nil, struct{}{}, nil
		})
	}
	p := rs.connect(withoutStream)
	p.add("hat")
	owner := rs.liveAt()
	go p.try("stubborn", nil)
	<-owner.tools.started
	owner.gone.Store(true)
	owner.store.cut.Store(true)
	eventually(t, "the owner gives the session up by itself", func() bool { return len(owner.handler.live.all()) == 0 })
	eventually(t, "another takes it over", func() bool { _, err := p.try("about", nil); return err == nil })
	owner.store.cut.Store(false)
	close(wake)
	if err := <-writes; !errors.Is(err, session.ErrFenced) {
		t.Errorf("a former owner's write: %v", err)
	}
	if got := fmt.Sprint(p.add("scarf")["items"]); got != "[hat scarf]" {
		t.Errorf("the basket has %s", got)
	}
	if data := rs.record().Data; data["late"] != nil {
		t.Error("a former owner has written")
	}
}

func TestACutOffReplicaRefusesAndRecovers(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	r := rs.all[0]
	r.store.cut.Store(true)
	ask := func(at *replica) *http.Response {
		body := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, at.web.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
			"Mcp-Session-Id": p.cs.ID(), "Mcp-Protocol-Version": "2025-11-25",
		} {
			req.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	eventually(t, "it knows", func() bool { return !r.node.Confirmed() })
	if res := ask(r); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("cut off: status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	eventually(t, "the other serves", func() bool { return ask(rs.all[1]).StatusCode == http.StatusOK })
	r.store.cut.Store(false)
	eventually(t, "it serves again", func() bool { return ask(r).StatusCode == http.StatusOK })
}

// Clients give up where a stream that they resume is refused.
func TestAStreamWaitsWhereItCannotBeServedYet(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	r := rs.all[0]
	r.store.cut.Store(true)
	eventually(t, "the replica is cut off", func() bool { return !r.node.Confirmed() })
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, r.web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Mcp-Session-Id", p.cs.ID())
	arrived := make(chan struct{})
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(arrived) },
	}))
	go func() {
		<-arrived
		r.store.cut.Store(false)
	}()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestADrainGivesQuietSessionsAwayAndServesBusyOnes(t *testing.T) {
	rs := newReplicas(t, 2)
	quiet, busy := rs.connect(withoutStream), rs.connect(withoutStream)
	quiet.add("hat")
	drainer := rs.all[0]
	// Both are to be live in the replica that drains.
	for _, p := range []*peer{quiet, busy} {
		rs.moveTo(p, drainer)
	}
	done := make(chan error, 1)
	go func() {
		_, err := busy.try("slow", item{"x"})
		done <- err
	}()
	<-drainer.tools.started

	ctx, cancel := context.WithTimeout(testContext(t), patience)
	defer cancel()
	if err := drainer.node.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	go func() { drained <- drainer.handler.Drain(ctx) }()
	eventually(t, "the drain begins", drainer.handler.live.isClosed)
	for range 10 { // wherever they arrive
		quiet.add("x")
		busy.call("about", nil)
	}
	if l := drainer.handler.live.all(); len(l) != 1 || l[0].ref.String() == refOf(quiet) {
		t.Errorf("%d sessions are live in the replica that drains, want the busy one", len(l))
	}
	drainer.tools.release()
	if err := <-done; err != nil {
		t.Errorf("the call that was running: %v", err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	for range 10 {
		quiet.add("x")
		busy.call("about", nil)
	}
	if n := len(rs.all[1].handler.live.all()); n != 2 {
		t.Errorf("%d sessions are live in the other replica, want 2", n)
	}
	// New ones too are begun elsewhere.
	for range 4 {
		rs.connect(only(drainer), withoutStream, speaking("2025-11-25")).add("x")
		rs.connect(only(drainer), speaking("2026-07-28"))
	}
}

// A request looks for its session while the replica that it came to drains and
// leaves the cluster. It is served by the session's owner all the same.
func TestARequestThatArrivedBeforeADrainIsServed(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	drainer, owner := rs.all[0], rs.all[1]
	rs.moveTo(p, owner)
	drainer.handler.grace = patience
	h := &hold{arrived: make(chan struct{}), over: make(chan struct{})}
	drainer.store.held.Store(h)
	release := sync.OnceFunc(func() { close(h.over) })
	defer release()

	ctx, cancel := context.WithTimeout(testContext(t), patience)
	defer cancel()
	via := rs.through(p, drainer)
	served := make(chan error, 1)
	go func() { served <- via() }()
	<-h.arrived
	drainer.store.held.Store(nil)
	left := make(chan error, 1)
	go func() {
		err := errors.Join(drainer.node.Drain(ctx), drainer.handler.Drain(ctx))
		left <- errors.Join(err, drainer.node.Close())
	}()
	eventually(t, "the drain begins", drainer.handler.live.isClosed)
	select {
	case err := <-left:
		t.Fatalf("it has left over a request that is there: %v", err)
	case <-time.After(20 * time.Millisecond): // or it would have soon
	}
	release()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := <-left; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// through returns a ping for the client's session that goes through a replica.
func (rs *replicas) through(p *peer, at *replica) func() error {
	return func() error {
		req, err := http.NewRequestWithContext(testContext(rs.t), http.MethodPost, at.web.URL, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		if err != nil {
			return err
		}
		for k, v := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
			"Mcp-Session-Id": p.cs.ID(), "Mcp-Protocol-Version": "2025-11-25",
		} {
			req.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", res.Status)
		}
		return nil
	}
}

func refOf(p *peer) string {
	ref, _, _ := strings.Cut(p.cs.ID(), ".")
	return ref
}

// moveTo has the session live in the replica.
func (rs *replicas) moveTo(p *peer, to *replica) {
	rs.t.Helper()
	ref, err := state.ParseRef(refOf(p))
	if err != nil {
		rs.t.Fatal(err)
	}
	for _, r := range rs.all {
		if l := r.handler.live.get(ref); l != nil && r != to {
			eventually(rs.t, "the session is quiet", func() bool {
				return l.closeIf(func() bool { return !l.isEngaged() })
			})
			if err := r.handler.handOver(rs.t.Context(), l, to.node.Name()); err != nil {
				rs.t.Fatal(err)
			}
		}
	}
	p.call("about", nil)
	if to.handler.live.get(ref) == nil {
		rs.t.Fatal("the session did not move")
	}
}

// A balancer may send the requests of a session to one replica and mean it.
func TestASessionMovesToWhereItsRequestsLand(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	from, to := rs.all[0], rs.all[1]
	rs.moveTo(p, from)
	from.gone.Store(true)
	for range handAfter + 2 {
		p.add("x")
	}
	if len(from.handler.live.all()) != 0 || len(to.handler.live.all()) != 1 {
		t.Error("the session has not moved")
	}
	from.gone.Store(false)
	for range 40 { // now they land on both
		p.add("y")
	}
	if got := p.add("z")["items"].([]any); len(got) != handAfter+2+40+1 {
		t.Errorf("%d items", len(got))
	}
}

func TestPassivationFreesTheSession(t *testing.T) {
	rs := newReplicas(t, 2, func(o *Options) { o.PassivateAfter = 100 * time.Millisecond })
	p := rs.connect(withoutStream)
	p.add("hat")
	eventually(t, "the session is free", func() bool { return rs.record().Owner == "" })
	for _, r := range rs.all {
		for _, other := range rs.others(r) {
			other.gone.Store(true)
		}
		r.gone.Store(false)
		if got := p.add("x")["ref"]; got != refOf(p) {
			t.Errorf("ref %v", got)
		}
		if got := rs.record().Owner; got != r.node.Name() && got != "" {
			t.Errorf("the session is live in %s, its request came to %s", got, r.node.Name())
		}
		eventually(t, "the session is free again", func() bool { return rs.record().Owner == "" })
	}
}

func TestDELETEAnywhereEndsTheSessionEverywhere(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect()
	owner := rs.liveAt()
	other := rs.others(owner)[0]
	req, err := http.NewRequestWithContext(testContext(t), http.MethodDelete, other.web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Mcp-Session-Id", p.cs.ID())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %d", res.StatusCode)
	}
	eventually(t, "it is live nowhere", func() bool { return len(owner.handler.live.all()) == 0 })
	if _, err := p.try("about", nil); err == nil {
		t.Error("the session is still there")
	}
}

// A request that lands on the owner costs the store no more than where there
// is one replica only.
func TestTheOwnerAsksTheStoreOnceForARequest(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	r := rs.all[0]
	rs.moveTo(p, r)
	rs.all[1].gone.Store(true)
	reads, writes := r.store.reads.Load(), r.store.written.Load()
	const calls = 20
	for range calls {
		p.call("about", nil)
	}
	if got := r.store.reads.Load() - reads; got != calls {
		t.Errorf("%d reads for %d calls", got, calls)
	}
	if got := r.store.written.Load() - writes; got != 0 {
		t.Errorf("%d writes for %d calls", got, calls)
	}
}
