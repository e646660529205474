package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// BenchmarkMemoryGet compares Get of store/memory with a sharded map under read
// locks that makes the same copy. Target: at least 1/1.5 of its rate.
func BenchmarkMemoryGet(b *testing.B) {
	store := memory.New(memory.Options{})
	defer store.Close()
	keys := fill(b, store, 1000)
	plain := newShardedMap(b, store, keys)
	get := func(read func(state.Key) (state.Record, error)) func(int) (time.Duration, error) {
		return func(n int) (time.Duration, error) {
			return inParallel(8, n, func(i int) error {
				_, err := read(keys[i%len(keys)])
				return err
			})
		}
	}
	a := Side{Name: "store/memory", Run: get(func(k state.Key) (state.Record, error) {
		return store.Get(context.Background(), k)
	})}
	t := Side{Name: "map", Run: get(plain.get)}
	for b.Loop() {
		c, err := Compare(a, t, 40, 200_000)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, "a sharded map with read locks")
	}
}

// BenchmarkSQLiteUpdates compares updates of 64 writers, which share commits,
// with the same updates one to a transaction. Each is acknowledged once it is
// on disk. Target: at least 3 times the rate.
func BenchmarkSQLiteUpdates(b *testing.B) {
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	const writers = 64
	keys := fill(b, store, writers)
	versions := make([]uint64, writers) // each of its own writer alone
	for i := range versions {
		versions[i] = 1
	}
	update := func(i int) error {
		r := store.Apply(context.Background(), state.UpdateOp{Key: keys[i], Version: versions[i], Data: content()})[0]
		versions[i]++
		return r.Err
	}
	var one sync.Mutex // lets one transaction through at a time
	a := Side{Name: "grouped", Run: func(n int) (time.Duration, error) { return byWriters(writers, n, update) }}
	t := Side{Name: "one a transaction", Run: func(n int) (time.Duration, error) {
		return byWriters(writers, n, func(i int) error {
			one.Lock()
			defer one.Unlock()
			return update(i)
		})
	}}
	for b.Loop() {
		c, err := Compare(a, t, 15, 1000)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, "one transaction each")
	}
}

func content() map[string]json.RawMessage {
	return map[string]json.RawMessage{"name": json.RawMessage(`"a value of some length"`), "n": json.RawMessage(`12345`)}
}

// fill creates records.
func fill(b *testing.B, store state.Store, n int) []state.Key {
	b.Helper()
	keys := make([]state.Key, n)
	for i := range keys {
		ref, err := state.NewRef(byte(i), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		r := state.Record{Namespace: "bench", Kind: "session", Ref: ref, User: fmt.Sprint("user", i), Data: content()}
		if _, err := state.Do(b.Context(), store, state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
			b.Fatal(err)
		}
		keys[i] = r.Key()
	}
	return keys
}

// inParallel does n operations from some goroutines.
func inParallel(goroutines, n int, do func(i int) error) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(n))
	return byWriters(goroutines, goroutines, func(int) error {
		for i := left.Add(-1); i >= 0; i = left.Add(-1) {
			if err := do(int(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// byWriters does n operations, in equal parts by writers that are told their
// number.
func byWriters(writers, n int, do func(writer int) error) (time.Duration, error) {
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	began := time.Now()
	for w := range writers {
		all.Go(func() {
			for range n / writers {
				if err := do(w); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return took, *err
	}
	return took, nil
}

// A shardedMap is what one would write by hand.
type shardedMap struct {
	shards [256]struct {
		mu      sync.RWMutex // guards records
		records map[state.Key]*state.Record
	}
}

func newShardedMap(b *testing.B, store state.Store, keys []state.Key) *shardedMap {
	b.Helper()
	m := new(shardedMap)
	for _, k := range keys {
		r, err := store.Get(b.Context(), k)
		if err != nil {
			b.Fatal(err)
		}
		sh := &m.shards[k.Ref.Routing()]
		if sh.records == nil {
			sh.records = map[state.Key]*state.Record{}
		}
		sh.records[k] = &r
	}
	return m
}

func (m *shardedMap) get(k state.Key) (state.Record, error) {
	sh := &m.shards[k.Ref.Routing()]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	r := sh.records[k]
	if r == nil {
		return state.Record{}, state.ErrNotFound
	}
	return r.Clone(), nil
}
