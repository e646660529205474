// Package cache keeps copies of records in the memory of the process, in front
// of a store. It implements [state.Cache] on otter, a cache with a good
// admission policy, bounded in bytes.
//
// What otter does not know is kept beside it: which revision of a key is too
// old. A copy that was read before its record changed is refused however late
// it arrives, also if otter has long dropped the entry; see floors.go.
package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// DefaultMaxBytes is what a zero Options.MaxBytes stands for: 64 MiB.
const DefaultMaxBytes = 64 << 20

// recordOverhead is what a copy takes beyond its bytes: structs and places in
// otter's tables, measured and rounded up.
const recordOverhead = 560

// dataOverhead is what a map of n values takes: nothing is kept for none, one
// group holds eight, and beyond that half of the slots may be empty.
func dataOverhead(n int) int {
	switch {
	case n == 0:
		return 0
	case n <= 8:
		return 450
	}
	return 100 * n
}

// Options of a Cache. The zero value is useful.
type Options struct {
	// MaxBytes bounds what the copies take, by [state.Size] and an estimate
	// of their overhead; what is remembered of invalidations takes up to a
	// sixteenth more, or 256 KiB if that is more. Zero: DefaultMaxBytes.
	MaxBytes int64
	// OnLookup is called by every Get that was answered. It must be quick.
	// Nil: none.
	OnLookup func(hit bool)
}

// A Cache is a [state.Cache] in the memory of the process. Call [New]. All
// methods may be called by any number of goroutines; Get takes no lock.
//
// The Remaining of a copy is what it was when the copy was read from the
// store: readers compute it anew from the deadlines.
type Cache struct {
	copies   *otter.Cache[state.Key, *state.Record]
	onLookup func(hit bool)
	closed   atomic.Bool

	seed       maphash.Seed
	generation atomic.Uint64 // raised by every Clear and every Invalidate
	floors     [floorShards]floorShard
}

var _ state.Cache = (*Cache)(nil)

// New returns an empty cache.
func New(opts Options) (*Cache, error) {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	copies, err := otter.New(&otter.Options[state.Key, *state.Record]{
		MaximumWeight: uint64(opts.MaxBytes),
		Weigher:       weigh,
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d bytes: %w", opts.MaxBytes, err)
	}
	c := &Cache{copies: copies, onLookup: opts.OnLookup, seed: maphash.MakeSeed()}
	for i := range c.floors {
		c.floors[i].init(int(opts.MaxBytes / 16 / floorShards / floorBytes))
	}
	return c, nil
}

func weigh(key state.Key, r *state.Record) uint32 {
	return uint32(recordOverhead + state.Size(r) + len(r.Sealed) + dataOverhead(len(r.Data)))
}

// Get implements [state.Cache]. It allocates nothing but the copy's map.
func (c *Cache) Get(ctx context.Context, key state.Key) (state.Record, bool, error) {
	if err := c.usable(ctx); err != nil {
		return state.Record{}, false, err
	}
	kept, ok := c.copies.GetIfPresent(key)
	if c.onLookup != nil {
		c.onLookup(ok)
	}
	if !ok {
		return state.Record{}, false, nil
	}
	r := *kept
	if r.Data == nil {
		r.Data = map[string]json.RawMessage{}
	} else {
		r.Data = maps.Clone(r.Data)
	}
	return r, true, nil
}

// Generation implements [state.Cache].
func (c *Cache) Generation(ctx context.Context) (uint64, error) {
	return c.generation.Load(), c.usable(ctx)
}

// Fill implements [state.Cache]. That a copy is refused is no error.
func (c *Cache) Fill(ctx context.Context, r state.Record, generation uint64) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	key := r.Key()
	if err := state.CheckKey(key); err != nil {
		return err
	}
	kept := &r
	if len(r.Data) == 0 {
		kept.Data = nil
	} else {
		kept.Data = maps.Clone(r.Data)
	}
	hash := maphash.Comparable(c.seed, key)
	fl := &c.floors[hash%floorShards]
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if !fl.admits(hash, r.Revision, generation) {
		return nil
	}
	if old, ok := c.copies.GetEntryQuietly(key); ok && old.Value.Revision > r.Revision {
		return nil
	}
	c.copies.Set(key, kept)
	return nil
}

// Invalidate implements [state.Cache].
func (c *Cache) Invalidate(ctx context.Context, key state.Key, revision uint64) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	hash := maphash.Comparable(c.seed, key)
	fl := &c.floors[hash%floorShards]
	fl.mu.Lock()
	defer fl.mu.Unlock()
	// The generation is raised here, after the record has changed: whoever
	// takes it from now on reads the record as it is now.
	fl.raise(hash, revision, c.generation.Add(1))
	if old, ok := c.copies.GetEntryQuietly(key); ok && old.Value.Revision < revision {
		c.copies.Invalidate(key)
	}
	return nil
}

// Clear implements [state.Cache].
func (c *Cache) Clear(ctx context.Context) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	c.clear()
	return nil
}

func (c *Cache) clear() {
	generation := c.generation.Add(1)
	// Once a shard has learned of the generation it admits no older copy,
	// and those that it admitted before are in otter already.
	for i := range c.floors {
		c.floors[i].clear(generation)
	}
	c.copies.InvalidateAll()
}

// Close implements [state.Cache]; afterwards everything is [state.ErrClosed].
// It is idempotent and never fails.
func (c *Cache) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.clear()
	c.copies.StopAllGoroutines()
	return nil
}

func (c *Cache) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.closed.Load() {
		return state.ErrClosed
	}
	return nil
}
