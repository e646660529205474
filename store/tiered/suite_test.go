package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

func TestTieredMemoryKeepsTheContract(t *testing.T) {
	h := statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return open(t, openMemory(t, clock), tiered.Options{Clock: now(clock)})
	}}
	statetest.Run(t, h)
	statetest.RunEvents(t, h)
}

// Two tiers, of which the first is so small that it forgets most.
func TestTwoTiersKeepTheContract(t *testing.T) {
	statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		small, err := cache.New(cache.Options{MaxBytes: 8 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return open(t, openMemory(t, clock), tiered.Options{
			Tiers: []tiered.Tier{{Cache: small}, {Cache: newCache(t), Shared: true}},
			Clock: now(clock),
		})
	}})
}

// The second tier is a cache in Redis, as processes share it.
func TestRedisTierKeepsTheContract(t *testing.T) {
	server := redisserver.Start(t)
	n := 0
	statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		n++
		url := fmt.Sprintf("redis://%s?prefix=t%d:", server.Addr(), n)
		shared, err := redis.OpenCache(t.Context(), url, redis.CacheOptions{TTL: time.Hour, Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return open(t, openMemory(t, clock), tiered.Options{
			Tiers: []tiered.Tier{{Cache: newCache(t)}, {Cache: shared, Shared: true}},
			Clock: now(clock),
		})
	}})
}

// The clocks of the store and of the tiers are real.
func TestTieredKeepsTheContractInRealTime(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same with an injected clock is run")
	}
	statetest.Run(t, statetest.Harness{OwnClock: true, Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return open(t, openMemory(t, clock), tiered.Options{Staleness: 200 * time.Millisecond})
	}})
}

// files opens stores on SQLite files, twice if asked, with tiers of their own
// and, if two is set, one that they share.
type files struct {
	two bool

	mu     sync.Mutex // guards opened
	opened map[state.Store]file
}

type file struct {
	path   string
	clock  *statetest.Clock
	second state.Cache
}

func (f *files) open(t testing.TB, with file) state.Store {
	opts := tiered.Options{
		Clock: now(with.clock), Tiers: []tiered.Tier{{Cache: newCache(t)}},
		Beat: 20 * time.Millisecond,
	}
	if f.two {
		opts.Tiers = append(opts.Tiers, tiered.Tier{Cache: shared{with.second}, Shared: true})
	}
	s := open(t, openFile(t, with.path, now(with.clock)), opts)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened[s] = with
	return s
}

func (f *files) harness() statetest.Harness {
	f.opened = map[state.Store]file{}
	return statetest.Harness{
		Open: func(t testing.TB, clock *statetest.Clock) state.Store {
			return f.open(t, file{filepath.Join(t.TempDir(), "state.db"), clock, newCache(t)})
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			f.mu.Lock()
			with := f.opened[s]
			f.mu.Unlock()
			return f.open(t, with)
		},
	}
}

func TestTieredSQLiteKeepsTheContract(t *testing.T) {
	h := (&files{}).harness()
	statetest.Run(t, h)
	statetest.RunEvents(t, h)
}

func TestSharedTierOnSQLiteKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same without a shared tier is run")
	}
	statetest.Run(t, (&files{two: true}).harness())
}

var errBroken = errors.New("the cache is broken")

// broken is a cache that fails all that n says of each five calls.
type broken struct {
	state.Cache
	mu    sync.Mutex
	calls int
	n     int
}

func (b *broken) fails() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	return b.calls%5 < b.n
}

func (b *broken) Get(ctx context.Context, key state.Key) (state.Record, bool, error) {
	if b.fails() {
		return state.Record{}, false, errBroken
	}
	return b.Cache.Get(ctx, key)
}

func (b *broken) Generation(ctx context.Context) (uint64, error) {
	if b.fails() {
		return 0, errBroken
	}
	return b.Cache.Generation(ctx)
}

func (b *broken) Fill(ctx context.Context, r state.Record, generation uint64) error {
	if b.fails() {
		return errBroken
	}
	return b.Cache.Fill(ctx, r, generation)
}

func (b *broken) Invalidate(ctx context.Context, key state.Key, revision uint64) error {
	if b.fails() {
		return errBroken
	}
	return b.Cache.Invalidate(ctx, key, revision)
}

func (b *broken) Clear(ctx context.Context) error {
	if b.fails() {
		return errBroken
	}
	return b.Cache.Clear(ctx)
}

// Caches that fail now and then, or always, are not noticed.
func TestBrokenTierKeepsTheContract(t *testing.T) {
	for name, n := range map[string]int{"Sometimes": 2, "Always": 5} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && n == 5 {
				t.Skip("short: a cache that fails sometimes is run")
			}
			statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
				return open(t, openMemory(t, clock), tiered.Options{
					Tiers: []tiered.Tier{{Cache: newCache(t)}, {Cache: &broken{Cache: newCache(t), n: n}, Shared: true}},
					Clock: now(clock),
				})
			}})
		})
	}
}
