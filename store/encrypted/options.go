package encrypted

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options change what a Store does. The zero value is useful.
type Options struct {
	// MaxLifetime bounds how long after its creation any record may live,
	// extensions included. Zero: no bound, deadlines are believed. Operations
	// that ask for more are ErrInvalid, records that claim more ErrTampered.
	MaxLifetime time.Duration
	// ClockTolerance is how far the clocks of this process and of the store
	// may be apart, with MaxLifetime. Zero: a day.
	ClockTolerance time.Duration
	// Clock is what creations are sealed with. Nil: time.Now.
	Clock func() time.Time

	// Remember is of how many records at least the newest version seen is
	// kept in memory, about 100 bytes each, so that an older one is noticed.
	// Zero: 65,536. Negative: none.
	Remember int
	// ServeRolledBack returns records that were rolled back, after OnRefusal
	// has heard of it: for stores that may lose acknowledged writes when they
	// fail over.
	ServeRolledBack bool

	// AcceptPlain reads records and events that are not sealed, from a time
	// before encryption; an Update seals a record's content. Their users stay
	// in clear, limits do not count them, and whoever can write to the store
	// can plant records: only until the last of them has ended.
	AcceptPlain bool

	// OnRefusal hears of each message that was not opened. It is called
	// synchronously, must be quick, and may be called concurrently. Nil:
	// nobody.
	OnRefusal func(context.Context, Refusal)
}

// A Store seals what it gives to another store and opens what it gets. It is
// safe for concurrent use.
type Store struct {
	inner  state.Store
	events state.EventStore // nil if inner is none
	ring   *keyring.Ring
	opts   Options
	users  userKeys
	seen   *versions
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// New wraps a store. The Store takes it over: Close closes it. If inner is no
// [state.EventStore], the methods of that are [state.ErrUnsupported].
func New(inner state.Store, ring *keyring.Ring, opts Options) (*Store, error) {
	switch {
	case inner == nil:
		return nil, errors.New("encrypt a store: there is none")
	case ring == nil:
		return nil, errors.New("encrypt a store: there is no key ring; make one with keyring.Open or keyring.FromKey")
	case opts.MaxLifetime < 0 || opts.ClockTolerance < 0:
		return nil, errors.New("encrypt a store: MaxLifetime and ClockTolerance must not be negative")
	}
	if opts.ClockTolerance == 0 {
		opts.ClockTolerance = 24 * time.Hour
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Remember == 0 {
		opts.Remember = 1 << 16
	}
	events, _ := inner.(state.EventStore)
	return &Store{
		inner: inner, events: events, ring: ring, opts: opts,
		users: newUserKeys(ring.Stable(keyring.UserIndex)),
		seen:  newVersions(opts.Remember, inner.Guarantees().Staleness),
	}, nil
}

// Unwrap returns the inner store, which has the sealed records.
func (s *Store) Unwrap() state.Store { return s.inner }

// Watch implements [state.Store]. Changes say nothing that is sealed.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	return s.inner.Watch(ctx, opts)
}

// Guarantees implements [state.Store]: they are those of the inner store, but
// for EventOverhead.
func (s *Store) Guarantees() state.Guarantees {
	g := s.inner.Guarantees()
	g.EventOverhead += overhead
	return g
}

// Close implements [state.Store]. It closes the inner store, but not the ring.
func (s *Store) Close() error { return s.inner.Close() }
