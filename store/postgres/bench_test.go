package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// A bench is a store and a pool that both use, with records of 2 KiB.
type bench struct {
	pool *pgxpool.Pool
	s    *postgres.Store
	keys []state.Key
	data map[string]json.RawMessage
	text string
}

func newBench(b *testing.B, sync bool) *bench {
	server := postgresserver.Start(b, postgresserver.Options{Sync: sync})
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
	s, err := postgres.New(b.Context(), pool, postgres.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return fill(b, pool, s)
}

func fill(b *testing.B, pool *pgxpool.Pool, s *postgres.Store) *bench {
	n := &bench{pool: pool, s: s}
	n.data = map[string]json.RawMessage{"v": json.RawMessage(`"` + strings.Repeat("0123456789abcdef", 128) + `"`)}
	n.text = fmt.Sprintf(`{"v":%s}`, n.data["v"])
	for range 1024 {
		ref, err := state.NewRef(1, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		op := state.CreateOp{
			Record: state.Record{Namespace: "bench", Kind: "session", Ref: ref, User: "u" + ref.String(), Data: n.data},
			Idle:   time.Hour, Lifetime: 2 * time.Hour,
		}
		if _, err := state.Do(b.Context(), s, op); err != nil {
			b.Fatal(err)
		}
		n.keys = append(n.keys, op.Target())
	}
	return n
}

const handGet = `SELECT namespace, id, kind, user_id, version, revision, epoch, owner, created_at, last_accessed,
	idle_deadline, absolute_deadline, secret_hash, last_op, user_agent, protocol_version, data
	FROM sessions WHERE namespace = $1 AND id = $2 AND least(idle_deadline, absolute_deadline) > clock_timestamp()`

func (n *bench) handGet(ctx context.Context, k state.Key) error {
	var namespace, id, kind, user, owner, agent, protocol string
	var version, revision, epoch int64
	var created, accessed, idle, absolute time.Time
	var hash, op, data []byte
	err := n.pool.QueryRow(ctx, handGet, k.Namespace, k.Ref.String()).Scan(&namespace, &id, &kind, &user, &version, &revision,
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

func (n *bench) handUpdate(ctx context.Context, k state.Key, version uint64) error {
	var v, revision, epoch int64
	var created, accessed, idle, absolute time.Time
	return n.pool.QueryRow(ctx, handUpdate, k.Namespace, k.Ref.String(), int64(version), n.text).
		Scan(&v, &revision, &epoch, &created, &accessed, &idle, &absolute)
}

func (n *bench) update(ctx context.Context, k state.Key, version uint64) error {
	_, err := state.Do(ctx, n.s, state.UpdateOp{Key: k, Version: version, Data: n.data})
	return err
}

func (n *bench) get(ctx context.Context, k state.Key) error {
	_, err := n.s.Get(ctx, k)
	return err
}

// rate runs f by so many callers for a while and returns calls per second.
func rate(b *testing.B, callers int, d time.Duration, f func(caller, i int) error) float64 {
	var wg sync.WaitGroup
	var n atomic.Int64
	start := time.Now()
	for c := range callers {
		wg.Go(func() {
			for i := 0; time.Since(start) < d; i++ {
				if err := f(c, i); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(start).Seconds()
}

// BenchmarkAgainstStatementsByHand prints how many times as fast as the same
// statements, one a call on the same pool, the store is. The two take turns.
func BenchmarkAgainstStatementsByHand(b *testing.B) {
	n := newBench(b, true)
	ctx := b.Context()
	versions := make([]uint64, len(n.keys))
	for i := range versions {
		versions[i] = 1
	}
	// Each caller has records of its own.
	turn := func(update func(context.Context, state.Key, uint64) error) func(c, i int) error {
		return func(c, i int) error {
			at := c*16 + i%16
			err := update(ctx, n.keys[at], versions[at])
			versions[at]++
			return err
		}
	}
	for _, callers := range []int{1, 64} {
		for _, what := range []string{"get", "update"} {
			b.Run(fmt.Sprintf("%s/%d", what, callers), func(b *testing.B) {
				var hand, store float64
				const d = 300 * time.Millisecond
				rounds := 0
				for b.Loop() {
					rounds++
					if what == "get" {
						hand += rate(b, callers, d, func(c, i int) error { return n.handGet(ctx, n.keys[(c*31+i)%1024]) })
						store += rate(b, callers, d, func(c, i int) error { return n.get(ctx, n.keys[(c*31+i)%1024]) })
						continue
					}
					hand += rate(b, callers, d, turn(n.handUpdate))
					store += rate(b, callers, d, turn(n.update))
				}
				b.ReportMetric(hand/float64(rounds), "hand/s")
				b.ReportMetric(store/float64(rounds), "store/s")
				b.ReportMetric(store/hand, "ratio")
			})
		}
	}
}
