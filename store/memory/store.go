// Package memory keeps records in the memory of the process. It implements
// [state.Store] and [state.EventStore] completely and is the store to take for
// development, for tests and for a single replica whose sessions may end with
// it.
//
// Every operation on one ref is linearizable and limits are exact, the total
// too. Nothing survives the process. What is kept is bounded in records and in
// bytes; over the bound writes are [state.ErrFull] and nothing is lost.
package memory

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// DefaultMaxRecords is what a zero Options.MaxRecords stands for.
	DefaultMaxRecords = 1_000_000
	// DefaultMaxBytes is what a zero Options.MaxBytes stands for: 1 GiB.
	DefaultMaxBytes = 1 << 30
)

// Options of a Store. The zero value is useful.
type Options struct {
	// MaxRecords bounds the records kept, expired ones that were not swept
	// included. Zero: DefaultMaxRecords.
	MaxRecords int
	// MaxBytes bounds what records, tombstones and events take together, by
	// an estimate that includes their overhead. Zero: DefaultMaxBytes.
	MaxBytes int64
	// Clock is the store's clock. Where it steps back the store's time stands
	// still. Nil: the system's monotonic clock, started at the wall clock's
	// time; later steps of the wall clock do not move it.
	Clock func() time.Time
}

// shardCount is 64 so that a set of shards fits into a uint64.
const shardCount = 64

// A Store keeps records in memory; see the package comment. The zero Store is
// not usable; call [New]. All methods may be called by any number of
// goroutines.
//
// Locks are taken in this order: gate, space.mu, shard.mu in ascending order
// of the shards, watcher.mu. No lock is held while foreign code runs, but for
// the clock.
type Store struct {
	clock clock
	room  room
	seed  maphash.Seed

	shards [shardCount]shard

	// gate is held for reading by every write and for writing by Watch and
	// Close, so that these begin when no write is half done.
	gate   sync.RWMutex
	closed atomic.Bool   // set under gate; Get reads it under a shard's lock
	done   chan struct{} // closed by Close
	pumps  sync.WaitGroup

	spacesMu sync.RWMutex // guards spaces
	spaces   map[string]*space
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// New returns an empty store.
func New(opts Options) *Store {
	if opts.MaxRecords <= 0 {
		opts.MaxRecords = DefaultMaxRecords
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	s := &Store{
		seed:   maphash.MakeSeed(),
		done:   make(chan struct{}),
		spaces: make(map[string]*space),
	}
	s.clock.start(opts.Clock)
	s.room.maxRecords, s.room.maxBytes = int64(opts.MaxRecords), opts.MaxBytes
	for i := range s.shards {
		s.shards[i].records = make(map[state.Key]*entry)
		s.shards[i].tombs = make(map[state.Key]*tomb)
	}
	return s
}

// Guarantees implements [state.Store]. The clock error is the millisecond to
// which deadlines are cut.
func (s *Store) Guarantees() state.Guarantees {
	return state.Guarantees{
		ClockError: state.Precision,
		Durability: state.Volatile,
		ExactTotal: true,
	}
}

// Close ends the store and its watches and waits for what is in progress. It
// never fails.
func (s *Store) Close() error {
	s.gate.Lock()
	if !s.closed.Swap(true) {
		close(s.done)
	}
	s.gate.Unlock()
	// Reads hold no gate, only the lock of a shard: let them out.
	for i := range s.shards {
		s.shards[i].mu.Lock()
		//lint:ignore SA2001 the lock is taken only to wait
		s.shards[i].mu.Unlock()
	}
	s.pumps.Wait()
	return nil
}

// enter admits a write; leave must follow if it returns nil.
func (s *Store) enter() error {
	s.gate.RLock()
	if s.closed.Load() {
		s.gate.RUnlock()
		return state.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

// shardOf returns the shard of a ref. It hashes all of it, since nothing makes
// callers spread their routing bytes.
func (s *Store) shardOf(ref state.Ref) *shard {
	return &s.shards[s.shardIndex(ref)]
}

func (s *Store) shardIndex(ref state.Ref) int {
	return int(maphash.Comparable(s.seed, ref) % shardCount)
}

// lockAll locks a set of shards in ascending order, so that two calls cannot
// wait for one another.
func (s *Store) lockAll(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Lock()
	}
}

func (s *Store) unlockAll(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Unlock()
	}
}

// findSpace returns the namespace, or nil if nothing was ever kept in it.
func (s *Store) findSpace(namespace string) *space {
	s.spacesMu.RLock()
	defer s.spacesMu.RUnlock()
	return s.spaces[namespace]
}

func (s *Store) space(namespace string) *space {
	if sp := s.findSpace(namespace); sp != nil {
		return sp
	}
	s.spacesMu.Lock()
	defer s.spacesMu.Unlock()
	sp := s.spaces[namespace]
	if sp == nil {
		sp = &space{tables: make(map[string]*table)}
		s.spaces[namespace] = sp
	}
	return sp
}
