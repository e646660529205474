package postgres

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	readGroups  = 2 // round trips that read, at once
	writeGroups = 2 // commits, at once; more would only be smaller
	maxReads    = 256
	maxWrites   = 256 // operations in one transaction; large ones count for several
	weightBytes = 16 << 10
)

// A Store keeps records in a PostgreSQL database. It implements [state.Store]
// and [state.EventStore]. All methods may be called by any number of
// goroutines.
type Store struct {
	pool    *pgxpool.Pool
	ownPool bool
	opts    Options
	schema  string // quoted
	channel string
	sql     statements

	durability state.Durability
	standing   atomic.Pointer[promise] // nil until the server was asked

	// open is held for reading by every operation, and by Close for writing.
	open   sync.RWMutex
	closed bool // guarded by open

	gets lane[*lookup]
	// Plain updates are cheaper than other writes, and creates with a limit
	// wait for advisory locks: neither stands behind the others.
	updates, writes, limited lane[*write]

	params paramsPool // of groups of writes

	hub *hub
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

func newStore(pool *pgxpool.Pool, opts Options) *Store {
	s := &Store{
		pool:    pool,
		opts:    opts,
		schema:  pgx.Identifier{opts.Schema}.Sanitize(),
		channel: channelOf(opts.Schema),
	}
	s.sql = s.statements()
	s.gets = lane[*lookup]{groups: readGroups, most: maxReads, timeout: opts.Timeout, run: s.lookUp}
	s.updates = lane[*write]{groups: writeGroups, most: maxWrites, timeout: opts.Timeout, grace: writeGrace, run: s.commitPlain}
	s.writes = lane[*write]{groups: writeGroups, most: maxWrites, timeout: opts.Timeout, grace: writeGrace, run: s.commit}
	s.limited = lane[*write]{groups: writeGroups, most: maxWrites, timeout: opts.Timeout, grace: writeGrace, run: s.commit}
	s.hub = newHub(s)
	return s
}

// Guarantees implements [state.Store]. Durability is what the settings of the
// server said when the store was opened, and Replication the level in force.
func (s *Store) Guarantees() state.Guarantees {
	return state.Guarantees{
		ClockError: s.opts.ClockError,
		Durability: s.durability,
		Shared:     true,
		ExactTotal: true,

		Replication: s.promised().level,
	}
}

// Close waits for operations in progress, ends watches and closes the pool, if
// it is the store's own. It is idempotent and never fails.
func (s *Store) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.gets.wait()
	s.updates.wait()
	s.writes.wait()
	s.limited.wait()
	s.hub.close()
	if s.ownPool {
		s.pool.Close()
	}
	return nil
}

// enter begins an operation. If it returns no error, leave must be called.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Err() != nil {
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

// WithConn lends a connection of the pool for the time of fn, which must leave
// it as it was. Use it for what the store has no method for; the tables are
// described in the package comment. Errors of fn are returned as they are.
func (s *Store) WithConn(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unavailable("borrow a connection", err)
	}
	defer conn.Release()
	return fn(ctx, conn.Conn())
}

// query runs one of the package's statements and gives each row to f. An
// error before anything was sent is unsent.
func (s *Store) query(ctx context.Context, sql string, args *params, f func(*row) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unsent{err}
	}
	defer conn.Release()
	return queryOn(ctx, conn.Conn(), sql, args, f)
}

var binaryFormat = []int16{1}

// queryOn speaks the binary format on both ways.
func queryOn(ctx context.Context, conn *pgx.Conn, sql string, args *params, f func(*row) error) error {
	// Prepared apart, so that it is known that an error of this did nothing.
	statement, err := conn.Prepare(ctx, sql, sql)
	if err != nil {
		return unsent{err}
	}
	return each(conn.PgConn().ExecPrepared(ctx, statement.Name, args.values, binaryFormat, binaryFormat), f)
}

// queryOnce runs a statement that is seldom the same, and need not be kept
// prepared.
func (s *Store) queryOnce(ctx context.Context, sql string, args *params, f func(*row) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unsent{err}
	}
	defer conn.Release()
	return each(conn.Conn().PgConn().ExecParams(ctx, sql, args.values, nil, binaryFormat, binaryFormat), f)
}

// each gives each row of a result to f, until that fails.
func each(result *pgconn.ResultReader, f func(*row) error) error {
	var failed error
	for failed == nil && result.NextRow() {
		r := row{values: result.Values()}
		if failed = f(&r); failed == nil {
			failed = r.err
		}
	}
	if _, err := result.Close(); err != nil {
		return err
	}
	return failed
}
