package memory_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func watch(t testing.TB, s *memory.Store, namespace string) <-chan state.Change {
	t.Helper()
	ch, err := s.Watch(t.Context(), state.WatchOptions{Namespace: namespace, Beat: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func receive(t testing.TB, ch <-chan state.Change) state.Change {
	t.Helper()
	select {
	case c, ok := <-ch:
		if !ok {
			t.Fatal("the watch ended")
		}
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("no change in 30 seconds")
	}
	return state.Change{}
}

func TestASlowWatcherGetsAGapAndBlocksNobody(t *testing.T) {
	s := open(t, memory.Options{})
	slow := watch(t, s, "test")
	key := create(t, s, "alice")
	const updates = 3000
	for v := range uint64(updates) {
		do(t, s, state.UpdateOp{Key: key, Version: v + 1, Data: map[string]json.RawMessage{}})
	}
	// What was on its way comes first. Behind a Gap, of which there may be
	// more, there is no hole.
	gaps := 0
	var last state.Change
	for last.Version < updates+1 {
		c := receive(t, slow)
		if c.Type == state.Gap {
			gaps, last = gaps+1, state.Change{}
			continue
		}
		if last.Version != 0 && (c.Version != last.Version+1 || c.Revision <= last.Revision) {
			t.Fatalf("after version %d came %+v", last.Version, c)
		}
		last = c
	}
	if gaps == 0 {
		t.Errorf("a watcher that slept through %d changes got no Gap", updates)
	}
}

func TestWhatIsAcknowledgedAfterWatchIsDelivered(t *testing.T) {
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var acked atomic.Uint64
	acked.Store(1)
	wg.Go(func() {
		for v := uint64(1); ; v++ {
			select {
			case <-stop:
				return
			default:
			}
			do(t, s, state.UpdateOp{Key: key, Version: v})
			acked.Store(v + 1)
		}
	})
	for range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		ch, err := s.Watch(ctx, state.WatchOptions{Namespace: "test", Beat: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		// One more may have been acknowledged, but not noted, before.
		from := acked.Load() + 1
		if c := receive(t, ch); c.Type != state.Gap && c.Version > from+1 {
			t.Errorf("version %d was acknowledged after Watch returned, the first delivered is %d", from+1, c.Version)
		}
		cancel()
	}
	close(stop)
	wg.Wait()
}

func TestWatchesBeatWhileNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer s.Close()
		ch, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test"})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			start := time.Now()
			c := <-ch
			if waited := time.Since(start); c.Type != state.Beat || waited > time.Second {
				t.Errorf("got %v after %v, want a beat within a second", c.Type, waited)
			}
		}
	})
}

func TestWatchesSeeOnlyTheirNamespaceAndEndWithTheirContext(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := s.Watch(ctx, state.WatchOptions{Namespace: "other", Beat: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	both := watch(t, s, "test")
	key := create(t, s, "alice")
	if c := receive(t, both); c.Type != state.Created || c.Key != key {
		t.Errorf("got %+v", c)
	}
	select {
	case c := <-ch:
		t.Errorf("a watch of another namespace got %+v", c)
	default:
	}
	cancel()
	if c, open := <-ch; open {
		t.Errorf("after its context was done the watch got %+v", c)
	}
}
