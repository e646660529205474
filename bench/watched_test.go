package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// BenchmarkWatchedUpdate compares updates of 64 callers while somebody watches
// with those while nobody does, on the stores that have no such benchmark of
// their own. Target: at least 0.85 of the rate.
func BenchmarkWatchedUpdate(b *testing.B) {
	const callers = 64
	for _, c := range []struct {
		name   string
		rounds int
		n      int
		open   func(b *testing.B) (state.Store, error)
	}{
		{"memory", 30, 2000 * callers, func(*testing.B) (state.Store, error) { return memory.New(memory.Options{}), nil }},
		{"sqlite", 15, 80 * callers, func(b *testing.B) (state.Store, error) {
			return sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
		}},
		{"nats", 15, 80 * callers, func(b *testing.B) (state.Store, error) {
			conn, err := natsgo.Connect(natsserver.Start(b).URL())
			if err != nil {
				return nil, err
			}
			b.Cleanup(conn.Close)
			return nats.Open(b.Context(), conn, nats.Options{})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := c.open(b)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			keys, versions := fill(b, s, callers), make([]uint64, callers)
			for i := range versions {
				versions[i] = 1
			}
			update := func(n int) (time.Duration, error) {
				return byWriters(callers, n, func(i int) error {
					_, err := state.Do(b.Context(), s, state.UpdateOp{Key: keys[i], Version: versions[i], Data: content()})
					versions[i]++
					return err
				})
			}
			watched := func(n int) (time.Duration, error) { return whileWatched(b.Context(), s, n, update) }
			for b.Loop() {
				r, err := Compare(Side{Name: "watched", Run: watched}, Side{Name: "not watched", Run: update}, c.rounds, c.n)
				if err != nil {
					b.Fatal(err)
				}
				report(b, r, "that without a watcher")
			}
		})
	}
}

// whileWatched has updates run while somebody watches, who must hear of some.
func whileWatched(ctx context.Context, s state.Store, n int, updates func(int) (time.Duration, error)) (time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	changes, err := s.Watch(ctx, state.WatchOptions{Namespace: "bench"})
	if err != nil {
		stop()
		return 0, err
	}
	heard := make(chan int)
	go func() {
		n := 0
		for c := range changes {
			if c.Type == state.Updated {
				n++
			}
		}
		heard <- n
	}()
	took, err := updates(n)
	stop()
	if got := <-heard; err == nil && got == 0 {
		err = fmt.Errorf("of %d updates the watch told none", n)
	}
	return took, err
}
