package statetest

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) {
	// The broken stores of mutants_test.go make rapid fail on purpose: it need
	// not keep notes of that, nor look long for the shortest way to it.
	flag.Parse()
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "1s"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func openMemory(t testing.TB, clock *Clock) state.Store {
	t.Helper()
	var now func() time.Time
	if clock != nil {
		now = clock.Now
	}
	s := memory.New(memory.Options{Clock: now})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func TestRunOnMemory(t *testing.T) { Run(t, Harness{Open: openMemory}) }

func TestRunOnMemoryWithItsOwnClock(t *testing.T) {
	Run(t, Harness{Open: openMemory, OwnClock: true, ShortLife: 60 * time.Millisecond})
}

// staleStore answers a Get with a copy that it read up to lag before, as a
// cache does, and says so.
type staleStore struct {
	state.Store
	lag    time.Duration
	copies sync.Map // of state.Key to staleCopy
}

type staleCopy struct {
	rec  state.Record
	read time.Time
}

func (s *staleStore) Get(ctx context.Context, k state.Key) (state.Record, error) {
	if c, ok := s.copies.Load(k); ok && ctx.Err() == nil && time.Since(c.(staleCopy).read) < s.lag {
		r := c.(staleCopy).rec
		return r.Clone(), nil
	}
	now := time.Now()
	r, err := s.Store.Get(ctx, k)
	if err == nil {
		s.copies.Store(k, staleCopy{rec: r.Clone(), read: now})
	}
	return r, err
}

func (s *staleStore) Close() error {
	s.copies.Clear()
	return s.Store.Close()
}

func (s *staleStore) Guarantees() state.Guarantees {
	g := s.Store.Guarantees()
	g.Staleness = 2 * s.lag
	return g
}

// A store whose reads lag behind, as it declares, keeps the contract.
func TestRunOnStaleStore(t *testing.T) {
	Run(t, Harness{
		OwnClock: true, ShortLife: 60 * time.Millisecond,
		Open: func(t testing.TB, _ *Clock) state.Store {
			return &staleStore{Store: openMemory(t, nil), lag: 10 * time.Millisecond}
		},
	})
}

func TestRunEventsOnMemory(t *testing.T) { RunEvents(t, Harness{Open: openMemory}) }

func TestRunEventsOnMemoryWithItsOwnClock(t *testing.T) {
	RunEvents(t, Harness{Open: openMemory, OwnClock: true, ShortLife: 60 * time.Millisecond})
}
