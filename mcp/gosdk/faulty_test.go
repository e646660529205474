package gosdk

import (
	"context"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// faulty is a real store with outages.
type faulty struct {
	backing
	noReads, noWrites, noEvents *atomic.Bool
	readsLeft                   *atomic.Int64 // positive: after so many there are no reads
}

func (f faulty) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if f.noReads.Load() {
		return state.Record{}, state.ErrUnavailable
	}
	if f.readsLeft.Add(-1) == 0 {
		f.noReads.Store(true)
	}
	return f.backing.Get(ctx, key)
}

func (f faulty) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if !f.noWrites.Load() {
		return f.backing.Apply(ctx, ops...)
	}
	out := make([]state.Result, len(ops))
	for i := range out {
		out[i].Err = state.ErrUnavailable
	}
	return out
}

func (f faulty) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if f.noEvents.Load() {
		return state.ErrUnavailable
	}
	return f.backing.Append(ctx, key, epoch, appends...)
}

func (f faulty) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	if f.noEvents.Load() {
		return func(yield func([]byte, error) bool) { yield(nil, state.ErrUnavailable) }
	}
	return f.backing.Read(ctx, key, stream, from)
}

func (f faulty) Tail(ctx context.Context, key state.Key, stream string) (int64, int64, error) {
	if f.noEvents.Load() {
		return 0, 0, state.ErrUnavailable
	}
	return f.backing.Tail(ctx, key, stream)
}

func newFaultyWorld(t *testing.T, options ...worldOption) (*world, faulty) {
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	f := faulty{keptOpen{store}, new(atomic.Bool), new(atomic.Bool), new(atomic.Bool), new(atomic.Int64)}
	options = append(options, func(w *world) { w.open = func() backing { return f } })
	return newWorld(t, options...), f
}

func TestAnOutageIs503AndEverythingGoesOnAfterIt(t *testing.T) {
	w, store := newFaultyWorld(t)
	c := w.subscribed()
	want503 := func(what string, got reply) {
		t.Helper()
		if got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", what, got.status, got.header.Get("Retry-After"))
		}
	}
	store.noReads.Store(true)
	store.noWrites.Store(true)
	want503("call", c.post(pingBody))
	want503("stream", c.do("GET", ""))
	want503("delete", c.do("DELETE", ""))
	want503("initialize", w.raw().post(initializeBody(streamable.V20251125)))
	if got := c.with("Mcp-Session-Id", "nonsense").post(pingBody); got.status != 404 {
		t.Errorf("what is no id at all: %d", got.status)
	}
	store.noReads.Store(false)
	store.noWrites.Store(false)
	if n, err := w.now().manager.Count(testContext(t), session.Query{}); n != 1 || err != nil {
		t.Errorf("%d sessions, %v: the refused initialize left something", n, err)
	}
	if got := c.post(pingBody); got.status != 200 {
		t.Errorf("after the outage: %d", got.status)
	}
}

func TestActivationInAnOutageIs503(t *testing.T) {
	w, store := newFaultyWorld(t)
	c := w.subscribed()
	w.restart()
	// Reads fail between the check of the request and the activation.
	store.readsLeft.Store(1)
	if got := c.post(pingBody); got.status != 503 {
		t.Errorf("got %d", got.status)
	}
	store.noReads.Store(false)
	if n := len(w.now().handler.live.all()); n != 0 {
		t.Errorf("%d live sessions are left", n)
	}
}

func TestWhatCannotBeStoredIsNotAcknowledged(t *testing.T) {
	w, store := newFaultyWorld(t)
	c := w.raw()
	got := c.post(initializeBody(streamable.V20251125))
	c = c.with("Mcp-Session-Id", got.header.Get("Mcp-Session-Id"))
	store.noWrites.Store(true)
	if got := c.post(initializedBody); got.status != 503 {
		t.Errorf("initialized: %d", got.status)
	}
	for _, body := range []string{subscribeBody, `{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"debug"}}`} {
		if got := c.post(body); got.status != 200 || !strings.Contains(got.body, `"error"`) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	store.noWrites.Store(false)
	if got := c.post(initializedBody); got.status != 202 {
		t.Errorf("initialized after the outage: %d", got.status)
	}
	if got := c.post(subscribeBody); !strings.Contains(got.body, `"result"`) {
		t.Errorf("subscribe after the outage: %s", got.body)
	}
}

func TestEventsWaitOutAnOutage(t *testing.T) {
	w, store := newFaultyWorld(t)
	c := w.subscribed()
	open := c.stream()
	w.streamingOpen()
	w.tell("one")
	seen := open.hears(t, "one")
	store.noEvents.Store(true)
	w.tell("two")
	open.hears(t, "two") // delivered, and kept in memory
	open.close()
	w.alone()
	w.tell("three")
	if got := c.with("Last-Event-ID", "x.31_0").do("GET", ""); got.status != 503 {
		t.Errorf("resuming in an outage: %d %s", got.status, got.body)
	}
	store.noEvents.Store(false)
	w.now().handler.tend(testContext(t), time.Now())
	w.restart()
	again := c.with("Last-Event-ID", seen).stream()
	again.hears(t, "two", "one")
	again.hears(t, "three")
	w.tell("four")
	if id := again.hears(t, "four"); id != "_3" {
		t.Errorf("the fourth event has id %s", id)
	}
}

func TestAPassivationThatCannotStoreLeavesTheSessionLive(t *testing.T) {
	w, store := newFaultyWorld(t)
	c := w.subscribed()
	open := c.stream()
	w.streamingOpen()
	w.tell("one")
	open.hears(t, "one")
	open.close()
	w.alone()
	store.noEvents.Store(true)
	w.tell("two")
	h := w.now().handler
	h.tend(testContext(t), time.Now().Add(time.Hour))
	if len(h.live.all()) != 1 {
		t.Fatal("an unstored event was thrown away")
	}
	store.noEvents.Store(false)
	h.tend(testContext(t), time.Now().Add(time.Hour))
	if len(h.live.all()) != 0 {
		t.Error("the session is not put away after the outage")
	}
	again := c.with("Last-Event-ID", "_0").stream()
	again.hears(t, "two", "one")
}
