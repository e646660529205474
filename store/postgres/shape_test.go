package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

const space = "test"

func newKey(t testing.TB) state.Key {
	t.Helper()
	ref, err := state.NewRef(3, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: space, Ref: ref}
}

func creation(t testing.TB, user string) state.CreateOp {
	t.Helper()
	k := newKey(t)
	return state.CreateOp{
		Record: state.Record{
			Namespace: k.Namespace, Ref: k.Ref, Kind: "session", User: user,
			Data: map[string]json.RawMessage{"basket": json.RawMessage(`["hat"]`)},
		},
		Idle: time.Hour, Lifetime: 2 * time.Hour,
	}
}

func create(t testing.TB, s state.Store, user string) state.Key {
	t.Helper()
	op := creation(t, user)
	do(t, s, op)
	return op.Target()
}

func do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	r, err := state.Do(t.Context(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return r
}

// ask returns the only value of a query.
func ask[T any](t testing.TB, s *postgres.Store, sql string, args ...any) (v T) {
	t.Helper()
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, args...).Scan(&v)
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestTouchesStayHOT(t *testing.T) {
	s := fresh(t, postgres.Options{})
	var keys []state.Key
	for range 200 {
		keys = append(keys, create(t, s, "ann"))
	}
	hot := func(column string) int64 {
		// The counters are told late; a connection tells its own when asked.
		return ask[int64](t, s, "SELECT "+column+" FROM pg_stat_user_tables WHERE relname = 'sessions' AND pg_stat_force_next_flush() IS NOT NULL")
	}
	poll(t, "the counters to settle", func() bool { return hot("n_tup_ins") == 200 })
	updates, stayed := hot("n_tup_upd"), hot("n_tup_hot_upd")
	const rounds = 10
	for range rounds {
		for some := range slices.Chunk(keys, 20) {
			ops := make([]state.Op, len(some))
			for i, k := range some {
				ops[i] = state.TouchOp{Key: k, Idle: time.Hour}
			}
			for _, r := range s.Apply(t.Context(), ops...) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
		}
	}
	want := int64(rounds * len(keys))
	poll(t, "the counters to settle", func() bool { return hot("n_tup_upd")-updates >= want })
	if got := hot("n_tup_hot_upd") - stayed; got < want*97/100 {
		t.Errorf("of %d touches only %d stayed within their page", want, got)
	}
}

// poll waits until cond holds.
func poll(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 60*time.Second {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func TestTheTableIsTheGuides(t *testing.T) {
	s := fresh(t, postgres.Options{})
	op := creation(t, "ann")
	do(t, s, op)
	for _, column := range []string{"id", "user_id", "data", "created_at", "last_accessed", "expires_at", "ip_address", "user_agent"} {
		if ask[int](t, s, "SELECT count(*) FROM information_schema.columns WHERE table_name = 'sessions' AND column_name = $1", column) != 1 {
			t.Errorf("there is no column %s", column)
		}
	}
	for _, index := range []string{"idx_sessions_user_id", "idx_sessions_expires_at"} {
		if ask[int](t, s, "SELECT count(*) FROM pg_indexes WHERE tablename = 'sessions' AND indexname = $1", index) != 1 {
			t.Errorf("there is no index %s", index)
		}
	}
	if got := ask[string](t, s, "SELECT data #>> '{basket,0}' FROM sessions WHERE id = $1 AND user_id = 'ann' AND expires_at > now()",
		op.Record.Ref.String()); got != "hat" {
		t.Errorf("data in SQL: got %q", got)
	}
	if got := ask[string](t, s, "SELECT user_id FROM live_sessions"); got != "ann" {
		t.Errorf("live_sessions: got %q", got)
	}
}

func TestUsersOfAnyBytesAreToldApart(t *testing.T) {
	users := []string{"", "ann", `a\x00`, "a\x00", `a\\x00`, "\xff", `\xff`, `\\xff`, `\`, `\\`, "é", "e\u0301", "\xc3", strings.Repeat("\xfe", state.MaxUserBytes)}
	seen := map[string]string{}
	for _, u := range users {
		e := postgres.EscapeUser(u)
		if other, ok := seen[e]; ok {
			t.Errorf("%q and %q are both escaped as %q", u, other, e)
		}
		seen[e] = u
	}
	s := fresh(t, postgres.Options{})
	for _, u := range users {
		k := create(t, s, u)
		r, err := s.Get(t.Context(), k)
		if err != nil || r.User != u {
			t.Errorf("user %q came back as %q, %v", u, r.User, err)
		}
	}
}

// TestValuesThatJSONBCannotHold come back as they were, and spoil no other.
func TestValuesThatJSONBCannotHold(t *testing.T) {
	s := fresh(t, postgres.Options{})
	values := []string{
		`"\ud83d\udd11"`, `"\\ud800"`, `1e400000`, `1e-20000`, `[1e100000,1e100000]`,
		"1" + strings.Repeat("0", 100000), "0." + strings.Repeat("1", 20000), `12345678901234567890123456789`, `1e300`,
		strings.Repeat("[", 300) + strings.Repeat("]", 300),
	}
	var wg sync.WaitGroup
	for _, v := range values {
		wg.Go(func() {
			op := creation(t, "ann")
			op.Record.Data = map[string]json.RawMessage{"v": json.RawMessage(v), "w": json.RawMessage(`1`)}
			if _, err := state.Do(t.Context(), s, op); err != nil {
				t.Errorf("create with %.40s: %v", v, err)
				return
			}
			_, err := state.Do(t.Context(), s, state.UpdateOp{Key: op.Target(), Version: 1, Data: op.Record.Data})
			if err != nil {
				t.Errorf("update to %.40s: %v", v, err)
				return
			}
			r, err := s.Get(t.Context(), op.Target())
			if err != nil || string(r.Data["w"]) != "1" || len(r.Data) != 2 {
				t.Errorf("get with %.40s: %d values, %v", v, len(r.Data), err)
			}
			if got := string(r.Data["v"]); got != v && !sameNumber(got, v) {
				t.Errorf("%.40s came back as %.40s", v, got)
			}
		})
	}
	wg.Wait()
}

func sameNumber(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

func TestARecordDoesNotGrowByBeingWrittenBack(t *testing.T) {
	s := fresh(t, postgres.Options{})
	op := creation(t, "")
	op.Record.Data = map[string]json.RawMessage{"k": json.RawMessage(`[` + strings.Repeat(`1,`, state.MaxRecordBytes/2-3) + `1]`)}
	do(t, s, op)
	for version := range uint64(3) {
		r, err := s.Get(t.Context(), op.Target())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := state.Size(&r), state.Size(&op.Record); got != want {
			t.Fatalf("a record of %d bytes came back with %d", want, got)
		}
		do(t, s, state.UpdateOp{Key: r.Key(), Version: version + 1, Data: r.Data})
	}
}

func TestTenReplicasMigrateAtOnce(t *testing.T) {
	url := postgresserver.Shared(t).Database(t)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), url+"?schema=replicas", postgres.Options{MaxConns: 2})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := state.Do(t.Context(), s, creation(t, "ann")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := open(t, url, postgres.Options{Schema: "replicas"})
	if n := ask[int](t, s, "SELECT count(*) FROM replicas.sessions"); n != 10 {
		t.Errorf("ten replicas created %d records", n)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	url := postgresserver.Shared(t).Database(t)
	s := open(t, url, postgres.Options{})
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO coatcheck_schema (version) VALUES (1000)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), url, postgres.Options{}); err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("opening a schema of the future: %v", err)
	}
}

func TestATableOfSomebodyElseIsLeftAlone(t *testing.T) {
	server := postgresserver.Shared(t)
	url := server.Database(t)
	server.Exec(t, url[strings.LastIndexByte(url, '/')+1:], "CREATE TABLE sessions (mine int)")
	if _, err := postgres.Open(t.Context(), url, postgres.Options{}); err == nil || !strings.Contains(err.Error(), `"sessions" already exists`) {
		t.Errorf("opening a database with another table sessions: %v", err)
	}
	open(t, url, postgres.Options{Schema: "beside"})
}

func TestServersThatWillNotDoAreRefused(t *testing.T) {
	server := postgresserver.Shared(t)
	server.Exec(t, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	t.Cleanup(func() { server.Exec(t, "postgres", "DROP DATABASE latin WITH (FORCE)") })
	url := server.Database(t)
	for name, c := range map[string]struct {
		url  string
		opts postgres.Options
		want string
	}{
		"encoding":  {server.URL("latin"), postgres.Options{}, "UTF8"},
		"standbys":  {url, postgres.Options{Standbys: 1}, "synchronous_standby_names"},
		"no URL":    {"host=localhost", postgres.Options{}, "postgres://"},
		"parameter": {url + "?pool_max_conns=none", postgres.Options{}, "pool_max_conns"},
		"idle":      {url, postgres.Options{MaxConns: 2, MinIdleConns: 3}, "pool_min_idle_conns"},
	} {
		_, err := postgres.Open(t.Context(), c.url, c.opts)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := postgres.Open(t.Context(), "postgres://u:secret@127.0.0.1:1/db", postgres.Options{})
	if !errors.Is(err, state.ErrUnavailable) || strings.Contains(fmt.Sprint(err), "secret") || !strings.Contains(fmt.Sprint(err), "127.0.0.1:1") {
		t.Errorf("no server: %v", err)
	}
}
