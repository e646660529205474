package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/semaphore"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Store keeps records in Redis; see the package comment. The zero Store is
// not usable; call [Open] or [New]. All methods may be called by any number of
// goroutines.
type Store struct {
	client     rueidis.Client
	owned      bool // Close closes the client
	opts       Options
	mode       rueidis.ClientMode
	guarantees state.Guarantees
	scripts    *scripts
	lent       *semaphore.Weighted // connections of the pool that are in use
	replicas   replicaCounts
	lanes      lanes

	// seen is the latest time seen of each routing byte's server, in Unix
	// milliseconds. The store's time never falls behind it, so that it does
	// not run backwards when a server's clock is set back or a failover leads
	// to a slower one.
	seen [256]atomic.Int64

	// gate is held for reading by every operation and for writing by Close.
	gate   sync.RWMutex
	closed bool // guarded by gate

	// ctx ends with the store; it is for what outlives a call: watches.
	ctx    context.Context
	cancel context.CancelFunc
	pumps  sync.WaitGroup

	hubsMu sync.Mutex // guards hubs
	hubs   map[string]*hub
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// Guarantees implements [state.Store]. Durability is what the server said when
// the store was opened: Synced if it syncs its append-only file with each
// write, Buffered if once a second, Volatile if it has none. ExactTotal is not
// promised by a cluster, which counts its slots one after the other.
func (s *Store) Guarantees() state.Guarantees { return s.guarantees }

// Close implements [state.Store]. A client that was handed in stays open.
func (s *Store) Close() error {
	s.gate.Lock()
	s.closed = true
	s.cancel()
	s.gate.Unlock()
	s.pumps.Wait()
	if s.owned {
		s.client.Close()
	}
	return nil
}

// enter admits an operation; leave must follow if it returns nil.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.gate.RLock()
	if s.closed {
		s.gate.RUnlock()
		return state.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

// observe notes a server's time and returns the store's.
func (s *Store) observe(routing byte, ms int64) time.Time {
	seen := &s.seen[routing]
	for {
		last := seen.Load()
		if ms <= last {
			return time.UnixMilli(last).UTC()
		}
		if seen.CompareAndSwap(last, ms) {
			return time.UnixMilli(ms).UTC()
		}
	}
}
