package open

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// DefaultTimeout bounds the opening of a store.
const DefaultTimeout = 30 * time.Second

// Options say what is put around a store, and how it is opened. The zero value
// opens the store that the URL names as it is.
type Options struct {
	// Ring seals what is written and opens what is read; see package
	// store/encrypted. Nil: nothing is sealed.
	Ring *keyring.Ring
	// Encryption is for a store with a Ring.
	Encryption encrypted.Options
	// Namespace is looked into when the store is opened: if the first records
	// there are sealed and there is no Ring, or none that fits, or are not
	// sealed and there is one, opening fails with a [*SealError]. Empty: that
	// is not looked at.
	Namespace string

	// Replication is when a write is acknowledged, in place of what the URL says
	// of it. A store that does not keep the level is a [*ReplicationError].
	// Empty: as the URL says, or the store's default.
	Replication state.Replication

	// Caches answer repeated reads; see package store/tiered. What they hold
	// is sealed if the store is. The zero value is none.
	Caches Caches
	// Tiered is for a store with Caches; its Tiers and OnLookup are not looked
	// at.
	Tiered tiered.Options
	// Batch collects concurrent writes; see package store/batched. Nil: they
	// are not.
	Batch *batched.Options
	// OnLookup hears of each read of a cache, by the names of [Caches.Tiers].
	// Nil: nobody does.
	OnLookup func(tier string, hit bool)

	// MustExist refuses to make the file of a SQLite store.
	MustExist bool
	// SQLiteCache is the bound of SQLite's own cache of reads in bytes,
	// negative for none. Zero: its default, or none with Caches.
	SQLiteCache int64

	// Timeout bounds the opening. Zero: DefaultTimeout.
	Timeout time.Duration
	Logger  *slog.Logger // nil: nothing is logged
}

// A Store is what every store of this module is.
type Store interface {
	state.Store
	state.EventStore
}

// Open opens the store that text names; see [Parse] and [URL.Open].
func Open(ctx context.Context, text string, opts Options) (Store, error) {
	u, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return u.Open(ctx, opts)
}

// Open opens the store, or makes it where there is none, and puts around it
// what the options ask for. The error names the store and says nothing that the
// URL keeps secret.
func (u URL) Open(ctx context.Context, opts Options) (Store, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	u, err := u.replicated(opts.Replication)
	if err != nil {
		return nil, err
	}
	store, err := u.bare(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := checkReplication(store, u, opts.Replication); err != nil {
		_ = store.Close() // nothing was written
		return nil, err
	}
	if opts.Namespace != "" {
		if err := checkSeals(ctx, store, opts); err != nil {
			_ = store.Close() // nothing was written
			return nil, fmt.Errorf("open %s: %w", u, err)
		}
	}
	return opts.wrap(ctx, store)
}

// wrap puts around a store what is asked for. Encryption is outermost, so that
// nothing clear gets into a cache or waits in a group; and caches are around
// groups, so that they drop what a write makes old when it is stored, not when
// it waits. If it fails, the store is closed.
func (o Options) wrap(ctx context.Context, store Store) (_ Store, err error) {
	defer func() {
		if err != nil {
			_ = store.Close() // nothing was written
		}
	}()
	if o.Batch != nil {
		store = batched.New(store, *o.Batch)
	}
	if o.Caches.Len() > 0 {
		cached, err := o.cached(ctx, store)
		if err != nil {
			return nil, err
		}
		store = cached
	}
	if o.Ring == nil {
		return store, nil
	}
	return encrypted.New(store, o.Ring, o.Encryption)
}

// cached puts the caches before a store.
func (o Options) cached(ctx context.Context, store Store) (*tiered.Store, error) {
	opts := o.Tiered
	opts.Staleness = cmp.Or(opts.Staleness, tiered.DefaultStaleness)
	tiers, err := o.Caches.open(ctx, opts.Staleness)
	if err != nil {
		return nil, err
	}
	opts.Tiers, opts.OnLookup = tiers, o.OnLookup
	s, err := tiered.New(store, opts)
	if err != nil {
		closeAll(tiers)
		return nil, err
	}
	return s, nil
}

// bare opens the store without anything around it. Each case returns its error
// by itself, since a nil pointer to a store is no nil Store.
func (u URL) bare(ctx context.Context, opts Options) (Store, error) {
	switch u.scheme {
	case Memory:
		return memory.New(memory.Options{}), nil
	case SQLite:
		return u.openSQLite(ctx, opts)
	case Redis:
		s, err := redis.OpenURL(ctx, u.text)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", u, err)
		}
		return s, nil
	case PostgreSQL:
		s, err := postgres.Open(ctx, u.text, postgres.Options{Logger: opts.Logger, Replication: opts.Replication})
		if err != nil {
			return nil, err // which names the store
		}
		return s, nil
	case NATS:
		return u.openNATS(ctx, opts)
	}
	return nil, errors.New("open a store: the URL is empty; make one with Parse")
}

func (u URL) openSQLite(ctx context.Context, opts Options) (Store, error) {
	if opts.MustExist {
		if _, err := os.Stat(u.path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no store at %s: give the --store of the server", u.path)
		}
	}
	if opts.Caches.Len() > 0 && opts.SQLiteCache == 0 {
		opts.SQLiteCache = -1
	}
	s, err := sqlite.Open(ctx, u.path, sqlite.Options{Logger: opts.Logger, OnLookup: opts.ownLookup(), CacheBytes: opts.SQLiteCache})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ownLookup is OnLookup for SQLite's own cache.
func (o Options) ownLookup() func(hit bool) {
	if o.OnLookup == nil {
		return nil
	}
	return func(hit bool) { o.OnLookup(ownCache, hit) }
}
