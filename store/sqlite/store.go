package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options configures a [Store]. The zero value is ready to use.
type Options struct {
	// Clock is the store's clock, for tests. Nil: see the package comment.
	// It may be called from several goroutines at once.
	Clock func() time.Time
	// CacheBytes bounds the cache that answers repeated reads. Zero: 32 MiB;
	// less: no cache.
	CacheBytes int64
	// OnLookup is told of every Get whether the cache answered it. It must be
	// quick. Nil: nobody is told.
	OnLookup func(hit bool)
	// BusyTimeout is how long to wait for a lock that another process holds
	// before giving up with [state.ErrUnavailable]. Zero: five seconds.
	BusyTimeout time.Duration
	// Readers is the number of connections that read. Zero: one for each
	// CPU, but from 2 to 8. Each takes about a megabyte, and up to 4 MiB of
	// page cache.
	Readers int
	// Logger hears what no caller can be told. Nil: nobody does.
	Logger *slog.Logger
	// VFS names the file system to use, one that was registered with SQLite.
	// Empty: the operating system's. For tests.
	VFS string

	// For tests.
	pragmas    string // of the writer
	noWALPeek  bool   // do without the shared memory of SQLite
	groupLimit int    // operations in a transaction; zero: maxGroup
	patience   time.Duration
}

// A Store keeps records in an SQLite database. It implements [state.Store] and
// [state.EventStore]. All methods may be called by any number of goroutines.
type Store struct {
	path  string
	opts  Options
	clock *clock

	// open is held for reading by every operation, and by Close for writing.
	open   sync.RWMutex
	closed bool

	readers *pool
	writer  *writer
	cache   *readCache // nil: none
	hub     *hub
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// Open opens the database at path, which may be open in other processes too. It
// creates the file, readable by its owner only, and its folder. ctx bounds the
// opening, not the store. The error names the path and says what to do.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	s := &Store{path: path, opts: opts.withDefaults(), clock: newClock(opts.Clock)}
	if err := s.start(ctx); err != nil {
		err = errors.Join(err, s.stop())
		return nil, fmt.Errorf("open SQLite store %s: %w", path, s.openFailure(err))
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Readers <= 0 {
		o.Readers = defaultReaders()
	}
	if o.groupLimit <= 0 {
		o.groupLimit = maxGroup
	}
	if o.patience <= 0 {
		o.patience = patience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// start opens everything; what it opened before it failed, stop closes.
func (s *Store) start(ctx context.Context) error {
	path, err := prepareFile(s.path)
	if err != nil {
		return err
	}
	s.path = path
	c, err := s.connectWriter(ctx)
	if err != nil {
		return err
	}
	s.writer = newWriter(s, c)
	if s.readers, err = s.openReaders(ctx); err != nil {
		return err
	}
	if err := protect(path); err != nil {
		return err
	}
	if err := s.startCache(ctx); err != nil {
		return err
	}
	if err := s.startHub(ctx); err != nil {
		return err
	}
	s.writer.start()
	return nil
}

// stop ends and closes what start began, in the reverse order.
func (s *Store) stop() error {
	var errs []error
	if s.writer != nil {
		s.writer.stop() // before its connection, and the hub that it tells
	}
	if s.hub != nil {
		errs = append(errs, s.hub.close())
	}
	if s.cache != nil {
		errs = append(errs, s.cache.close())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.conn.close())
	}
	return errors.Join(errs...)
}

// Close waits for operations in progress, ends watches and closes the file. It
// is idempotent.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.stop(); err != nil {
		return fmt.Errorf("close SQLite store %s: %w", s.path, err)
	}
	return nil
}

// enter begins an operation. If it returns no error, leave must be called.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return state.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.open.RUnlock() }

// Guarantees implements [state.Store].
func (s *Store) Guarantees() state.Guarantees {
	g := state.Guarantees{
		Durability: state.Synced,
		ClockError: clockError,
		Shared:     true,
		ExactTotal: true,
	}
	if s.opts.Clock != nil {
		g.ClockError = 0
	}
	return g
}
