package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// A postgresBench is a store and a pool that both sides use, on a server that
// syncs. Each record has 2 KiB of data and is written by one caller alone.
type postgresBench struct {
	server   *postgresserver.Server
	pool     *pgxpool.Pool
	store    *postgres.Store
	keys     []state.Key
	versions []uint64
	data     map[string]json.RawMessage
	text     string // data as one object
}

// perCaller is how many records each caller has.
const perCaller = 16

func openPostgres(b *testing.B, callers int) *postgresBench {
	b.Helper()
	server := postgresserver.Start(b, postgresserver.Options{Sync: true})
	cfg, err := pgxpool.ParseConfig(server.Database(b))
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 64
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	p := &postgresBench{server: server, pool: pool}
	p.store = p.another(b)
	p.data = map[string]json.RawMessage{"v": json.RawMessage(`"` + strings.Repeat("0123456789abcdef", 128) + `"`)}
	p.text = fmt.Sprintf(`{"v":%s}`, p.data["v"])
	for range perCaller * callers {
		ref, err := state.NewRef(1, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		r := state.Record{Namespace: "bench", Kind: "session", Ref: ref, User: "u" + ref.String(), Data: p.data}
		if _, err := state.Do(b.Context(), p.store, state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
			b.Fatal(err)
		}
		p.keys, p.versions = append(p.keys, r.Key()), append(p.versions, 1)
	}
	return p
}

// another returns one more store on the pool.
func (p *postgresBench) another(b *testing.B) *postgres.Store {
	b.Helper()
	s, err := postgres.New(b.Context(), p.pool, postgres.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

const handGet = `SELECT namespace, id, kind, user_id, version, revision, epoch, owner, created_at, last_accessed,
	idle_deadline, absolute_deadline, secret_hash, last_op, user_agent, protocol_version, data
	FROM sessions WHERE namespace = $1 AND id = $2 AND least(idle_deadline, absolute_deadline) > clock_timestamp()`

func (p *postgresBench) handGet(ctx context.Context, k state.Key) error {
	var namespace, id, kind, user, owner, agent, protocol string
	var version, revision, epoch int64
	var created, accessed, idle, absolute time.Time
	var hash, op, data []byte
	err := p.pool.QueryRow(ctx, handGet, k.Namespace, k.Ref.String()).Scan(&namespace, &id, &kind, &user, &version, &revision,
		&epoch, &owner, &created, &accessed, &idle, &absolute, &hash, &op, &agent, &protocol, &data)
	if err != nil {
		return err
	}
	var values map[string]json.RawMessage
	return json.Unmarshal(data, &values)
}

const handUpdate = `UPDATE sessions SET data = $4::jsonb, version = version + 1, revision = revision + 1
	WHERE namespace = $1 AND id = $2 AND version = $3 AND least(idle_deadline, absolute_deadline) > clock_timestamp()
	RETURNING version, revision, epoch, created_at, last_accessed, idle_deadline, absolute_deadline`

func (p *postgresBench) handUpdate(ctx context.Context, k state.Key, version uint64) error {
	var v, revision, epoch int64
	var created, accessed, idle, absolute time.Time
	return p.pool.QueryRow(ctx, handUpdate, k.Namespace, k.Ref.String(), int64(version), p.text).
		Scan(&v, &revision, &epoch, &created, &accessed, &idle, &absolute)
}

// get reads records in turn, other ones for each caller.
func (p *postgresBench) get(ctx context.Context, callers int, read func(context.Context, state.Key) error) func(int) (time.Duration, error) {
	at := make([]int, callers)
	return func(n int) (time.Duration, error) {
		return byWriters(callers, n, func(caller int) error {
			at[caller]++
			return read(ctx, p.keys[(caller*31+at[caller])%len(p.keys)])
		})
	}
}

// update writes the records of each caller in turn.
func (p *postgresBench) update(ctx context.Context, callers int, write func(context.Context, state.Key, uint64) error) func(int) (time.Duration, error) {
	turn := make([]int, callers)
	return func(n int) (time.Duration, error) {
		return byWriters(callers, n, func(caller int) error {
			at := caller*perCaller + turn[caller]%perCaller
			turn[caller]++
			err := write(ctx, p.keys[at], p.versions[at])
			p.versions[at]++
			return err
		})
	}
}

// through updates by a store.
func (p *postgresBench) through(s state.Store) func(context.Context, state.Key, uint64) error {
	return func(ctx context.Context, k state.Key, version uint64) error {
		_, err := state.Do(ctx, s, state.UpdateOp{Key: k, Version: version, Data: p.data})
		return err
	}
}

// BenchmarkPostgres compares store/postgres with the same statements by hand,
// one a call on the same pool. Targets: with 64 callers at least 3 times the
// reads and 2 times the updates, with one at least 0.9.
func BenchmarkPostgres(b *testing.B) {
	for _, callers := range []int{1, 64} {
		p := openPostgres(b, callers)
		b.Run(fmt.Sprintf("get/callers=%d", callers), func(b *testing.B) {
			a := Side{Name: "store/postgres", Run: p.get(b.Context(), callers, func(ctx context.Context, k state.Key) error {
				_, err := p.store.Get(ctx, k)
				return err
			})}
			t := Side{Name: "by hand", Run: p.get(b.Context(), callers, p.handGet)}
			p.against(b, a, t, 15, 2000+400*callers, "the same statements by hand")
		})
		b.Run(fmt.Sprintf("update/callers=%d", callers), func(b *testing.B) {
			a := Side{Name: "store/postgres", Run: p.update(b.Context(), callers, p.through(p.store))}
			t := Side{Name: "by hand", Run: p.update(b.Context(), callers, p.handUpdate)}
			p.against(b, a, t, 15, 800+150*callers, "the same statements by hand")
		})
	}
}

// BenchmarkPostgresWatched compares updates of 64 callers while somebody
// watches with those while nobody does. Target: at least 0.85 of the rate.
func BenchmarkPostgresWatched(b *testing.B) {
	const callers = 64
	p := openPostgres(b, callers)
	s := p.another(b)
	updates := p.update(b.Context(), callers, p.through(s))
	a := Side{Name: "watched", Run: func(n int) (time.Duration, error) { return whileWatched(b.Context(), s, n, updates) }}
	t := Side{Name: "not watched", Run: updates}
	p.against(b, a, t, 15, 150*callers, "that without a watcher")
}

// BenchmarkPostgresBatched compares store/batched before store/postgres, with
// 256 writers, with one transaction a write, and with one writer with the bare
// store. Targets: at least 3 times the updates; no slower.
func BenchmarkPostgresBatched(b *testing.B) {
	for _, writers := range []int{1, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			p := openPostgres(b, writers)
			s := batched.New(p.another(b), batched.Options{})
			defer s.Close()
			a := Side{Name: "batched", Run: p.update(b.Context(), writers, p.through(s))}
			if writers == 1 {
				t := Side{Name: "bare", Run: p.update(b.Context(), writers, p.through(p.store))}
				p.against(b, a, t, 30, 800, "the bare store")
				return
			}
			t := Side{Name: "one transaction a write", Run: p.update(b.Context(), writers, p.handUpdate)}
			p.against(b, a, t, 10, 80*writers, "one transaction a write")
		})
	}
}

// against compares and reports.
func (p *postgresBench) against(b *testing.B, ours, theirs Side, rounds, n int, what string) {
	b.Helper()
	ours.Served, theirs.Served = p.server.ProcessorTime, p.server.ProcessorTime
	for b.Loop() {
		c, err := Compare(ours, theirs, rounds, n)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, what)
	}
}
