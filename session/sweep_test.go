package session_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestSweepReportsEachEndingOnce(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: -1, AbsoluteLifetime: 150 * time.Minute})
	const n = 1200 // more than one step
	for range n {
		b.create("ann")
	}
	kept := b.create("bob")
	for range 3 {
		b.clock.Advance(45 * time.Minute)
		kept = b.access(kept.ID, "bob")
	}
	b.journal.take()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards total
		total int
	)
	for range 4 {
		wg.Go(func() {
			swept, err := b.Sweep(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += swept
		})
	}
	wg.Wait()
	seen := map[state.Ref]bool{}
	for _, e := range b.journal.of(session.EventEnded) {
		if seen[e.Ref] || e.Reason != state.ReasonIdle || e.Age != 2*time.Hour+time.Minute || e.User != "ann" {
			t.Fatalf("ended %+v", e)
		}
		seen[e.Ref] = true
	}
	if total != n || len(seen) != n {
		t.Errorf("%d swept, %d reported", total, len(seen))
	}
	b.clock.Advance(15 * time.Minute)
	if swept, err := b.Sweep(t.Context()); swept != 1 || err != nil {
		t.Errorf("%d, %v", swept, err)
	}
	ended := b.journal.of(session.EventEnded)
	if len(ended) != 1 || ended[0].Ref != kept.Ref || ended[0].Reason != state.ReasonAbsolute || ended[0].Age != 150*time.Minute {
		t.Errorf("ended %+v", ended)
	}
}

func TestOneSweepLeavesNothing(t *testing.T) {
	b := newBench(t, session.Policy{})
	const n = 2100 // more than two steps
	for range n {
		b.create("")
	}
	b.clock.Advance(24 * time.Hour)
	if swept, err := b.Sweep(t.Context()); swept != n || err != nil {
		t.Errorf("%d, %v", swept, err)
	}
	expired := session.Expired
	if left, err := b.Count(t.Context(), session.Query{State: &expired}); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
}

func TestSweepLeavesOtherKinds(t *testing.T) {
	b := newBench(t, session.Policy{})
	baskets, err := session.NewManager(b.store, session.Options{Kind: "basket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := baskets.Create(t.Context(), session.CreateRequest{}); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(25 * time.Hour)
	if n, err := b.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := baskets.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// brokenSweep fails the first sweeps.
type brokenSweep struct {
	state.Store
	mu    sync.Mutex // guards fails
	fails int
}

func (s *brokenSweep) Sweep(ctx context.Context, o state.SweepOptions) ([]state.End, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return nil, state.ErrUnavailable
	}
	return s.Store.Sweep(ctx, o)
}

func TestRunSweepsUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New(memory.Options{Clock: time.Now})
		defer inner.Close()
		var log strings.Builder
		j := &journal{}
		m, err := session.NewManager(&brokenSweep{Store: inner, fails: 1}, session.Options{
			Policy:  session.Policy{AbsoluteLifetime: time.Minute},
			Observe: j.observe, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		if _, err := m.Create(ctx, session.CreateRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the sweep at the start has failed
		time.Sleep(15*time.Minute - time.Second)
		synctest.Wait()
		if n := len(j.of(session.EventEnded)); n != 0 {
			t.Errorf("%d ended before the sweep", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(j.of(session.EventEnded)); n != 1 {
			t.Errorf("%d ended by the sweep", n)
		}
		if !strings.Contains(log.String(), "could not sweep") {
			t.Errorf("log %q", log.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestSweepSaysWhatFailed(t *testing.T) {
	b := newBench(t, session.Policy{})
	m, err := session.NewManager(&brokenSweep{Store: b.store, fails: 1}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Sweep(t.Context()); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestWatchTellsOfOtherProcesses(t *testing.T) {
	b := newBench(t, session.Policy{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.another(session.Policy{}).Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.another(session.Policy{}).Revoke(ctx, s.Ref, state.ReasonRevoked, "root"); err != nil {
		t.Fatal(err)
	}
	want := []state.ChangeType{state.Created, state.Deleted}
	deadline := time.After(30 * time.Second)
	for len(want) > 0 {
		select {
		case c := <-changes:
			if c.Type == state.Beat {
				continue
			}
			if c.Type != want[0] || c.Key.Ref != s.Ref {
				t.Fatalf("got %+v, want %v", c, want[0])
			}
			want = want[1:]
		case <-deadline:
			t.Fatalf("still waiting for %v", want)
		}
	}
	cancel()
	for range changes { // until it is closed
	}
}
