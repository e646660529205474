package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Open connects to the database that the URL names, brings its schema up to
// date, and returns a store on it. ctx bounds the opening, not the store. The
// error names the server, never a password, and says what to do.
//
// The URL is as libpq has it. Beside the parameters of the server it may have
// pool_max_conns, pool_min_idle_conns, pool_max_conn_idle_time,
// pool_max_conn_lifetime, connect_timeout, schema and replication. With several hosts, as in
// postgres://one,two/sessions, the store uses the one that can be written to,
// and goes on with another when that has taken over.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	cfg, err := opts.poolConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL store: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL store %s: %w", server(cfg), err)
	}
	s, err := open(ctx, pool, opts)
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.ownPool = true
	return s, nil
}

// New returns a store on a pool of the caller's, who closes it after the
// store. The pool's connections must be in transaction isolation "read
// committed", as they are unless somebody changed that.
func New(ctx context.Context, pool *pgxpool.Pool, opts Options) (*Store, error) {
	return open(ctx, pool, opts)
}

func server(cfg *pgxpool.Config) string {
	c := cfg.ConnConfig
	shown := fmt.Sprintf("%s:%d", c.Host, c.Port)
	for _, f := range c.Fallbacks { // one host may come twice, with and without TLS
		if host := fmt.Sprintf("%s:%d", f.Host, f.Port); !strings.HasSuffix(shown, host) {
			shown += "," + host
		}
	}
	return shown + "/" + c.Database
}

func open(ctx context.Context, pool *pgxpool.Pool, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s := newStore(pool, opts)
	err := s.check(ctx)
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL store %s: %w", server(pool.Config()), err)
	}
	return s, nil
}

// channelOf names the channel of a schema's changes: a name of at most 63
// bytes, which a schema may have already.
func channelOf(schema string) string {
	sum := sha256.Sum256([]byte(schema))
	return fmt.Sprintf("coatcheck_%x", sum[:8])
}

// check looks at what the store relies on, and what it may promise.
func (s *Store) check(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unavailable("connect", err)
	}
	defer conn.Release()
	var version, pid int
	var encoding, isolation, fsync string
	var st standing
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('default_transaction_isolation'), current_setting('fsync'), pg_backend_pid()`,
		pgx.QueryExecModeExec).Scan(&version, &encoding, &isolation, &fsync, &pid)
	switch {
	case err != nil:
		return unavailable("ask for the settings of the server", err)
	case version < 150000:
		return fmt.Errorf("the server is of version %d; use PostgreSQL 15 or newer", version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("the database is in %s; create one with ENCODING 'UTF8'", encoding)
	case isolation != "read committed":
		return fmt.Errorf("the connections are in isolation %q; set default_transaction_isolation to 'read committed' for them", isolation)
	case uint32(pid) != conn.Conn().PgConn().PID():
		// The key that a server hands out names its process; a proxy that
		// shares connections hands out one of its own.
		return errors.New("there is a connection pooler such as PgBouncer in between, in which prepared statements " +
			"and LISTEN do not work; connect to the server itself, the store pools its connections")
	}
	if err := conn.QueryRow(ctx, askStanding, pgx.QueryExecModeExec).Scan(&st.commit, &st.names, &st.connected); err != nil {
		return unavailable("ask for the standbys of the server", err)
	}
	return s.settle(st, fsync)
}

// settle checks and notes what may be promised of writes.
func (s *Store) settle(st standing, fsync string) error {
	n, _, _ := synchronous(st.names)
	if st.commit == "off" || st.commit == "local" {
		n = 0
	}
	if n < s.opts.Standbys {
		return fmt.Errorf("each commit waits for %d synchronous standbys, and %d are asked for: set synchronous_standby_names, "+
			"for example to 'ANY %d (*)', and synchronous_commit to on", n, s.opts.Standbys, s.opts.Standbys)
	}
	if err := s.take(st); err != nil {
		return err
	}
	s.durability = state.Synced
	switch {
	case fsync == "off" || st.commit == "off":
		s.durability = state.Buffered
	case n > 0:
		s.durability = state.Replicated
	}
	return nil
}
