package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// counter counts, from outside, the connections of an application.
func counter(t *testing.T, databaseURL string) func(application string) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return func(application string) (n int) {
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
			application).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// crowd makes many callers read, write and list at once.
func crowd(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	done := make(chan error)
	for range n {
		go func() {
			op := creation(t, "ann")
			_, err := state.Do(context.Background(), s, op)
			for range s.List(context.Background(), state.Query{Namespace: space, Max: 1}) {
				break
			}
			if _, gerr := s.Get(context.Background(), op.Target()); err == nil {
				err = gerr
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestPoolKeepsWhatTheURLOrTheOptionsSay(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		opts  postgres.Options
	}{
		"URL":     {"?application_name=mine&pool_max_conns=3&pool_min_idle_conns=2&pool_max_conn_idle_time=300ms", postgres.Options{}},
		"options": {"?application_name=mine&pool_max_conns=9", postgres.Options{MaxConns: 3, MinIdleConns: 2, IdleTimeout: 300 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			base := postgresserver.Shared(t).Database(t)
			count := counter(t, base)
			s := open(t, base+c.query, c.opts)
			poll(t, "the idle connections", func() bool { return count("mine") >= 2 })
			most := 0
			stop := make(chan struct{})
			counted := make(chan struct{})
			go func() {
				defer close(counted)
				for {
					select {
					case <-stop:
						return
					default:
						most = max(most, count("mine"))
					}
				}
			}()
			for range 5 {
				crowd(t, s, 40)
			}
			close(stop)
			<-counted
			if most != 3 {
				t.Errorf("there were up to %d connections, want 3", most)
			}
			if _, err := s.Watch(t.Context(), state.WatchOptions{Namespace: space}); err != nil {
				t.Error(err)
			}
			if n := count("mine watch"); n != 1 {
				t.Errorf("a watch has %d connections beside the pool, want 1", n)
			}
			poll(t, "idle connections to be closed", func() bool { return count("mine") <= 2 })
		})
	}
}

func TestConnectTimeoutBoundsTheOpening(t *testing.T) {
	w := newWire(t, postgresserver.Shared(t).Addr())
	w.stall() // it accepts, and says nothing
	start := time.Now()
	_, err := postgres.Open(t.Context(), "postgres://coatcheck@"+w.addr()+"/postgres", postgres.Options{ConnectTimeout: 200 * time.Millisecond})
	if !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestExhaustedPoolIsUnavailableInTime(t *testing.T) {
	base := postgresserver.Shared(t).Database(t)
	s := open(t, base, postgres.Options{MaxConns: 1})
	key := create(t, s, "ann")
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		for name, call := range map[string]func(context.Context) error{
			"Get": func(ctx context.Context) error { _, err := s.Get(ctx, key); return err },
			"Apply": func(ctx context.Context) error {
				_, err := state.Do(ctx, s, state.TouchOp{Key: key, Idle: time.Hour})
				return err
			},
			"Sweep": func(ctx context.Context) error {
				_, err := s.Sweep(ctx, state.SweepOptions{Namespace: space})
				return err
			},
			"Find": func(ctx context.Context) error {
				_, err := s.Find(ctx, postgres.Where{Query: state.Query{Namespace: space}})
				return err
			},
			"List": func(ctx context.Context) (failed error) {
				for _, err := range s.List(ctx, state.Query{Namespace: space}) {
					failed = err
				}
				return failed
			},
			"Append": func(ctx context.Context) error { return s.Append(ctx, key, 0, state.EventAppend{}) },
		} {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			err := call(ctx)
			cancel()
			if !errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome) {
				t.Errorf("%s without a free connection: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key); err != nil {
		t.Errorf("after the connection was given back: %v", err)
	}
}

func TestPoolOfTheCallersOwn(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), postgresserver.Shared(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := postgres.New(t.Context(), pool, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := create(t, s, "ann")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Get from a closed store: %v", err)
	}
	if err := pool.Ping(t.Context()); err != nil {
		t.Errorf("the store closed a pool that is not its own: %v", err)
	}
}

func TestPoolInAnotherIsolationIsRefused(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), postgresserver.Shared(t).Database(t)+"?default_transaction_isolation=serializable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := postgres.New(t.Context(), pool, postgres.Options{}); err == nil || !strings.Contains(err.Error(), "read committed") {
		t.Errorf("got %v", err)
	}
}

func TestPgBouncerIsRefused(t *testing.T) {
	server := postgresserver.Shared(t)
	direct, err := url.Parse(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Open(t.Context(), server.Bouncer(t, strings.TrimPrefix(direct.Path, "/")), postgres.Options{})
	if err == nil || !strings.Contains(err.Error(), "PgBouncer") {
		t.Errorf("opening through PgBouncer: %v", err)
	}
}

func TestSynchronousStandby(t *testing.T) {
	primary := postgresserver.Start(t, postgresserver.Options{Sync: true})
	standby := postgresserver.Start(t, postgresserver.Options{Sync: true, Standby: primary, Name: "two"})
	base := primary.Database(t)
	s := open(t, base, postgres.Options{})
	if d := s.Guarantees().Durability; d != state.Synced {
		t.Errorf("without a synchronous standby: durability %v", d)
	}
	primary.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (two)'")
	primary.Exec(t, "postgres", "SELECT pg_reload_conf()")
	var replicated *postgres.Store
	poll(t, "the setting to count", func() bool {
		r, err := postgres.Open(t.Context(), base, postgres.Options{Standbys: 1, SynchronousCommit: "remote_apply"})
		if err == nil {
			replicated = r
		}
		return err == nil
	})
	defer replicated.Close()
	if d := replicated.Guarantees().Durability; d != state.Replicated {
		t.Errorf("with a synchronous standby: durability %v", d)
	}
	key := create(t, replicated, "ann")
	// Another setting would not have waited until the standby shows it.
	name := base[strings.LastIndexByte(base, '/')+1:]
	conn, err := pgx.Connect(t.Context(), standby.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM sessions WHERE id = $1", key.Ref.String()).Scan(&n); err != nil || n != 1 {
		t.Errorf("the standby shows %d records, %v", n, err)
	}

	// A standby refuses to be written to, and that is an outage.
	reader := open(t, standby.URL(name), postgres.Options{})
	if _, err := state.Do(t.Context(), reader, state.TouchOp{Key: key, Idle: time.Hour}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("writing to a standby: %v", err)
	}
	primary.Kill(t)
	standby.Promote(t)
	promoted := open(t, standby.URL(name), postgres.Options{})
	if _, err := promoted.Get(t.Context(), key); err != nil {
		t.Errorf("after the standby took over: %v", err)
	}
}
