package outlet_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/outlet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func change(n uint64) state.Change { return state.Change{Type: state.Updated, Version: n} }

// run starts an outlet that ends with the test.
func run(t *testing.T, o *outlet.Outlet) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx, nil) })
	t.Cleanup(func() { stop(); wg.Wait() })
}

func TestChangesComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outlet.New(time.Hour)
		run(t, o)
		for n := range uint64(1000) {
			o.Put(change(n))
		}
		for n := range uint64(1000) {
			if c := <-o.Changes(); c.Type != state.Updated || c.Version != n {
				t.Fatalf("got %+v, want change %d", c, n)
			}
		}
	})
}

// What a slow watcher does not get stands behind one Gap, and nothing that is
// older comes after it.
func TestSlowWatcherGetsAGapAndThenWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outlet.New(time.Hour)
		run(t, o)
		const many = 10_000
		for n := range uint64(many) {
			o.Put(change(n))
			if n%100 == 0 {
				synctest.Wait()
			}
		}
		gaps, last := 0, uint64(0)
		for c := range o.Changes() {
			if c.Type == state.Gap {
				gaps++
				continue
			}
			if c.Version < last || gaps == 0 && c.Version > last+1 {
				t.Fatalf("after %d gaps change %d follows %d", gaps, c.Version, last)
			}
			if last = c.Version; last == many-1 {
				break
			}
		}
		if gaps == 0 {
			t.Error("no gap, but changes were left out")
		}
	})
}

func TestAGapMakesWhatWaitsVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outlet.New(time.Hour)
		o.Put(change(1))
		o.Gap()
		o.Put(change(2))
		run(t, o)
		if got := fmt.Sprint((<-o.Changes()).Type, (<-o.Changes()).Version); got != fmt.Sprint(state.Gap, 2) {
			t.Errorf("got %s, want a gap and change 2", got)
		}
	})
}

func TestBeatsComeOnlyInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outlet.New(time.Second)
		run(t, o)
		o.Beat() // nothing was silent for long
		o.Put(change(1))
		if c := <-o.Changes(); c.Version != 1 {
			t.Errorf("got %+v, want the change", c)
		}
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		o.Beat()
		if c := <-o.Changes(); c.Type != state.Beat {
			t.Errorf("got %+v, want a beat", c)
		}
		o.Beat()
		synctest.Wait()
		if n := len(o.Changes()); n != 0 {
			t.Errorf("%d changes after a beat that came too soon", n)
		}
	})
}

func TestTheChannelIsClosedWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, closed := outlet.New(time.Hour), make(chan struct{})
		go o.Run(t.Context(), closed)
		close(closed)
		if c, open := <-o.Changes(); open {
			t.Errorf("got %+v, want a closed channel", c)
		}
	})
}
