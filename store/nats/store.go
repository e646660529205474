package nats

import (
	"context"
	"sync"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Store keeps records in NATS JetStream; see the package comment. The zero
// Store is not usable; call [Open] or [OpenURL]. All methods may be called by
// any number of goroutines.
type Store struct {
	conn       *natsgo.Conn
	owned      bool // Close closes the connection
	js         jetstream.JetStream
	opts       Options
	guarantees state.Guarantees
	clock      clock

	// turns lets one write at a time through for each routing byte: writers of
	// one process need not find out by conflicts that they are in each other's
	// way.
	turns [256]chan struct{}
	// batches bounds those in flight, per stream.
	batches []chan struct{}
	looks   []shared[*infoAnswer] // per stream
	totals  totals
	lives   lives
	names   names

	leases []lease // by stream; nil: none is needed

	// gate is held for reading by every operation and for writing by Close.
	gate   sync.RWMutex
	closed bool // guarded by gate

	// ctx ends with the store; it is for what outlives a call: watches.
	ctx    context.Context
	cancel context.CancelFunc
	pumps  sync.WaitGroup

	hubTurn chan struct{} // held by who reads or changes hub
	hub     *hub          // nil while nobody watches
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// batchesAtOnce is below what a server allows a stream, so that other processes
// find room too.
const batchesAtOnce = 16

func newStore(conn *natsgo.Conn, js jetstream.JetStream, opts Options) *Store {
	s := &Store{conn: conn, js: js, opts: opts, batches: make([]chan struct{}, opts.Streams), hubTurn: make(chan struct{}, 1)}
	s.looks = make([]shared[*infoAnswer], opts.Streams)
	s.names.init(s)
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	for i := range s.batches {
		s.batches[i] = make(chan struct{}, batchesAtOnce)
	}
	s.clock.source = opts.clock
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Guarantees implements [state.Store].
func (s *Store) Guarantees() state.Guarantees { return s.guarantees }

// Close implements [state.Store]. A connection that was handed in stays open.
func (s *Store) Close() error {
	s.gate.Lock()
	s.closed = true
	s.cancel()
	s.gate.Unlock()
	s.pumps.Wait()
	if s.owned {
		s.conn.Close()
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
