package session_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(runChild(role))
	}
	goleak.VerifyTestMain(m)
}

// A clock stands still until it is advanced.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A journal keeps the events it observes.
type journal struct {
	mu     sync.Mutex // guards events
	events []session.Event
}

func (j *journal) observe(_ context.Context, e session.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// take returns what was observed since the last take.
func (j *journal) take() []session.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	events := j.events
	j.events = nil
	return events
}

// of returns what was observed of a type, and forgets all.
func (j *journal) of(t session.EventType) []session.Event {
	var found []session.Event
	for _, e := range j.take() {
		if e.Type == t {
			found = append(found, e)
		}
	}
	return found
}

// A bench is a Manager on a memory store whose time is in the test's hand.
type bench struct {
	*session.Manager
	t       testing.TB
	clock   *clock
	store   *faulty
	journal *journal
}

func newBench(t testing.TB, p session.Policy) *bench {
	t.Helper()
	c := newClock()
	inner := memory.New(memory.Options{Clock: c.Now})
	t.Cleanup(func() { _ = inner.Close() })
	b := &bench{t: t, clock: c, store: &faulty{Store: inner}, journal: &journal{}}
	b.Manager = b.another(p)
	return b
}

// another returns another Manager on the same store, as in another process.
func (b *bench) another(p session.Policy) *session.Manager {
	b.t.Helper()
	m, err := session.NewManager(b.store, session.Options{Policy: p, Clock: b.clock.Now, Observe: b.journal.observe})
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b *bench) create(user string) *session.Session {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), session.CreateRequest{User: user})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) get(id session.ID) *session.Session {
	b.t.Helper()
	s, err := b.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) access(id session.ID, user string) *session.Session {
	b.t.Helper()
	s, err := b.Access(b.t.Context(), id, user)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) count() int {
	b.t.Helper()
	n, err := b.Count(b.t.Context(), session.Query{})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// faulty is a store that can be made to lose requests or answers.
type faulty struct {
	state.Store
	mu      sync.Mutex // guards all below
	faults  []fault
	counts  map[string]int
	applies int // round trips
}

// A fault is what happens to one operation.
type fault struct {
	before  func() // runs before the operation arrives
	arrives bool   // the operation is applied
	then    func() // runs before the answer
	err     error  // the answer, instead of the true one
}

// next makes the next writes meet faults.
func (f *faulty) next(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, faults...)
}

// writes returns how many operations of a type arrived.
func (f *faulty) writes(op state.Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[typeName(op)]
}

func (f *faulty) draw(op state.Op) (fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	if len(f.faults) == 0 {
		f.counts[typeName(op)]++
		return fault{}, false
	}
	next := f.faults[0]
	f.faults = f.faults[1:]
	if next.arrives {
		f.counts[typeName(op)]++
	}
	return next, true
}

func (f *faulty) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	f.mu.Lock()
	f.applies++
	f.mu.Unlock()
	results := make([]state.Result, len(ops))
	for i, op := range ops {
		next, bad := f.draw(op)
		if next.before != nil {
			next.before()
		}
		if !bad || next.arrives {
			results[i] = f.Store.Apply(ctx, op)[0]
		}
		if next.then != nil {
			next.then()
		}
		if next.err != nil {
			results[i] = state.Result{Err: next.err}
		}
	}
	return results
}

func typeName(op state.Op) string {
	switch op.(type) {
	case state.CreateOp:
		return "create"
	case state.UpdateOp:
		return "update"
	case state.TouchOp:
		return "touch"
	case state.DeleteOp:
		return "delete"
	}
	return "other"
}
