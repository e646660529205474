package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// redisCallers is how many callers there are at once; each has records of its
// own.
const redisCallers = 64

// redisRounds and redisOps are how often both sides run, and how many
// operations each time.
const redisRounds, redisOps = 30, 6400

// A redisPair is the store and rueidis by itself on one server, with the same
// bytes.
type redisPair struct {
	store    *redis.Store
	raw      rueidis.Client
	keys     []state.Key
	versions []uint64 // each of its own caller alone
}

var twoKiB = json.RawMessage(`"` + strings.Repeat("x", 2046) + `"`)

func openRedis(b *testing.B) *redisPair {
	b.Helper()
	server := redisserver.Start(b)
	store, err := redis.OpenURL(b.Context(), "redis://"+server.Addr())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	raw, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(raw.Close)
	p := &redisPair{store: store, raw: raw, keys: fill(b, store, redisCallers), versions: make([]uint64, redisCallers)}
	for i := range p.keys {
		p.versions[i] = 1
		if err := p.update(i); err != nil {
			b.Fatal(err)
		}
		if err := p.set(i); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

func (p *redisPair) update(i int) error {
	r := p.store.Apply(context.Background(), state.UpdateOp{
		Key: p.keys[i], Version: p.versions[i], Data: map[string]json.RawMessage{"v": twoKiB},
	})[0]
	p.versions[i]++
	return r.Err
}

func (p *redisPair) get(i int) error {
	_, err := p.store.Get(context.Background(), p.keys[i])
	return err
}

func (p *redisPair) set(i int) error {
	return p.raw.Do(context.Background(), p.raw.B().Set().Key(fmt.Sprint("raw", i)).Value(string(twoKiB)).Build()).Error()
}

func (p *redisPair) rawGet(i int) error {
	_, err := p.raw.Do(context.Background(), p.raw.B().Get().Key(fmt.Sprint("raw", i)).Build()).AsBytes()
	return err
}

// compareCalls compares two calls, each by all callers at once.
func compareCalls(b *testing.B, ours, theirs func(i int) error, whose string) {
	b.Helper()
	side := func(name string, call func(i int) error) Side {
		return Side{Name: name, Run: func(n int) (time.Duration, error) { return byWriters(redisCallers, n, call) }}
	}
	for b.Loop() {
		c, err := Compare(side("store/redis", ours), side(whose, theirs), redisRounds, redisOps)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, whose)
	}
}

// BenchmarkRedisGet compares Get with rueidis's GET of as many bytes. Target: at
// least 0.9 of its rate.
func BenchmarkRedisGet(b *testing.B) {
	p := openRedis(b)
	compareCalls(b, p.get, p.rawGet, "rueidis GET")
}

// BenchmarkRedisUpdate compares Update, which compares the version, judges the
// deadlines, numbers the change and tells of it, with rueidis's SET of as many
// bytes. Target: at least 0.4 of its rate.
func BenchmarkRedisUpdate(b *testing.B) {
	p := openRedis(b)
	compareCalls(b, p.update, p.set, "rueidis SET")
}

// BenchmarkRedisWatchedUpdate compares updates while somebody watches with those
// of which nobody hears. Target: at least 0.85 of their rate.
func BenchmarkRedisWatchedUpdate(b *testing.B) {
	p := openRedis(b)
	updates := func(n int) (time.Duration, error) { return byWriters(redisCallers, n, p.update) }
	watched := func(n int) (time.Duration, error) { return whileWatched(b.Context(), p.store, n, updates) }
	for b.Loop() {
		c, err := Compare(Side{Name: "watched", Run: watched}, Side{Name: "not watched", Run: updates}, redisRounds, redisOps)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, "that without a watcher")
	}
}
