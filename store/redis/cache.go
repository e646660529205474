package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What zero CacheOptions stand for.
const (
	DefaultCacheTTL      = 5 * time.Second
	DefaultCachePatience = 250 * time.Millisecond
)

const (
	// floorSeconds is how long an Invalidate is remembered at least, unless
	// there are too many.
	floorSeconds = 60
	// floorCount is how many are remembered before those before them go.
	floorCount = 1 << 16 // of about 100 bytes each, and as many older ones
	// cacheRest is for how long a cache that did not answer is not asked.
	cacheRest = 500 * time.Millisecond
)

// CacheOptions are options of a [Cache]. The zero value is useful.
type CacheOptions struct {
	// TTL is how long copies are kept: as long as the reader may return them,
	// which is what tiered.Options.Staleness says. Zero: DefaultCacheTTL.
	TTL time.Duration
	// Patience bounds each call, so that a cache that is silent costs its
	// readers no more than that, and not again for half a second. Zero:
	// DefaultCachePatience.
	Patience time.Duration

	floors int // how many are remembered, for tests; zero: floorCount
}

// A Cache is a [state.Cache] in Redis, which several processes share. Call
// [OpenCache]. All methods may be called by any number of goroutines.
//
// It stands in one slot: a cluster keeps all of it on one node. The server may
// evict what it likes, and should be bounded by maxmemory with a policy such as
// allkeys-lru. If it forgets what it was told by Invalidate, by eviction or in
// a restart, all copies are void and every Fill of a record read before that is
// refused. Only a failover to a replica that was behind may admit an old copy;
// it is then no older than the reader's bound and is gone after TTL.
//
// Copies are written as they are given. Where records are to be sealed in the
// store they must be so here: put the cache below store/encrypted.
type Cache struct {
	client   rueidis.Client
	opts     CacheOptions
	tag      string
	scripts  cacheScripts
	reads    lane[string, found]
	pumps    sync.WaitGroup
	began    time.Time
	rests    atomic.Int64 // until when the server is not asked, since began
	gate     sync.RWMutex // held for reading by every call, for writing by Close
	isClosed bool         // guarded by gate
}

var _ state.Cache = (*Cache)(nil)

type cacheScripts struct{ fill, drop, clear, generation *script }

func newCacheScripts() cacheScripts {
	return cacheScripts{
		fill:       compose(flagsNone, part("ccache"), part("cfill")),
		drop:       compose(flagsAllowOOM, part("ccache"), part("cdrop")),
		clear:      compose(flagsAllowOOM, part("ccache"), part("cclear")),
		generation: compose(flagsAllowOOM, part("ccache"), part("cgeneration")),
	}
}

// OpenCache opens a cache on the Redis that a URL names, as [ParseURL] reads
// it. Caches with the same prefix are one.
func OpenCache(ctx context.Context, url string, opts CacheOptions) (*Cache, error) {
	server, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	def(&opts.TTL, DefaultCacheTTL)
	def(&opts.Patience, DefaultCachePatience)
	def(&opts.floors, floorCount)
	if opts.TTL < time.Millisecond || opts.Patience < time.Millisecond {
		return nil, invalid("cache", "TTL and patience must be at least a millisecond")
	}
	server = server.defaults()
	client, err := rueidis.NewClient(server.client())
	if err != nil {
		return nil, fmt.Errorf("connect to the cache at %s: %w: %w", strings.Join(server.Addresses, ", "), state.ErrUnavailable, err)
	}
	c := &Cache{
		client: client, opts: opts, tag: "{" + server.Prefix + "cache}:",
		scripts: newCacheScripts(), began: time.Now(),
	}
	c.reads = lane[string, found]{
		fly: c.readTogether, weigh: func(string) int { return 0 }, atOnce: flightsAtOnce, pumps: &c.pumps,
	}
	if _, err := c.Generation(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return c, nil
}

// The form of a copy: the generation in which it was read, its revision and
// its Remaining in nanoseconds, 8 bytes each, and the record.
const copyHead = 24

// Get implements [state.Cache].
func (c *Cache) Get(ctx context.Context, key state.Key) (r state.Record, there bool, err error) {
	err = c.guarded(ctx, func(ctx context.Context) error {
		found, _, err := c.reads.ask(ctx, c.copyKey(key))
		if err == nil {
			err = found.err
		}
		if err == nil && found.copy != nil {
			r, there = readCopy(key, found.copy)
		}
		return err
	})
	return r, there, err
}

// A found is a copy, or nil for none that counts.
type found struct {
	copy []byte
	err  error
}

// readTogether reads copies, and the generation since which they count.
func (c *Cache) readTogether(ctx context.Context, names []string) []found {
	answers := make([]found, len(names))
	messages, err := c.client.Do(ctx, c.client.B().Mget().Key(c.stateKey()).Key(names...).Build()).ToArray()
	if err != nil {
		for i := range answers {
			answers[i].err = err
		}
		return answers
	}
	cleared, known := clearedOf(&messages[0])
	if !known {
		return answers
	}
	for i := range answers {
		b, err := messages[i+1].AsBytes()
		if err == nil && len(b) >= copyHead && binary.BigEndian.Uint64(b) >= cleared {
			answers[i].copy = b
		}
	}
	return answers
}

// clearedOf reads the second number of the state.
func clearedOf(m *rueidis.RedisMessage) (uint64, bool) {
	text, err := m.ToString()
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(text, " ")
	second, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(second, 10, 64)
	return n, err == nil
}

// readCopy reads a copy. One that cannot be read is none.
func readCopy(key state.Key, b []byte) (state.Record, bool) {
	r, err := state.DecodeRecord(b[copyHead:])
	if err != nil || r.Key() != key {
		return state.Record{}, false
	}
	r.Remaining = time.Duration(binary.BigEndian.Uint64(b[16:]))
	return r, true
}

// Generation implements [state.Cache].
func (c *Cache) Generation(ctx context.Context) (generation uint64, err error) {
	err = c.guarded(ctx, func(ctx context.Context) error {
		b := c.client.B()
		text, err := c.client.Do(ctx, b.Get().Key(c.stateKey()).Build()).ToString()
		if rueidis.IsRedisNil(err) {
			text, err = c.call(ctx, c.scripts.generation, c.stateKey()).ToString()
		}
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(text, " ")
		generation, err = strconv.ParseUint(first, 10, 64)
		return err
	})
	return generation, err
}

// Fill implements [state.Cache]. That a copy is refused is no error.
func (c *Cache) Fill(ctx context.Context, r state.Record, generation uint64) error {
	key := r.Key()
	if err := state.CheckKey(key); err != nil {
		return err
	}
	b := make([]byte, 0, copyHead+512+state.Size(&r)+len(r.Sealed))
	b = binary.BigEndian.AppendUint64(b, generation)
	b = binary.BigEndian.AppendUint64(b, r.Revision)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Remaining))
	b, err := state.AppendRecord(b, &r)
	if err != nil {
		return fmt.Errorf("cache in redis: %w", err)
	}
	return c.guarded(ctx, func(ctx context.Context) error {
		return c.call(ctx, c.scripts.fill, c.copyKey(key), floorName(key), number(r.Revision),
			strconv.FormatUint(generation, 10), rueidis.BinaryString(b), strconv.FormatInt(c.opts.TTL.Milliseconds(), 10)).Error()
	})
}

// Invalidate implements [state.Cache].
func (c *Cache) Invalidate(ctx context.Context, key state.Key, revision uint64) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	return c.guarded(ctx, func(ctx context.Context) error {
		return c.call(ctx, c.scripts.drop, c.copyKey(key), floorName(key), number(revision),
			strconv.Itoa(floorSeconds), strconv.Itoa(c.opts.floors)).Error()
	})
}

// Clear implements [state.Cache]. Copies stay until their time is over, and do
// not count.
func (c *Cache) Clear(ctx context.Context) error {
	return c.guarded(ctx, func(ctx context.Context) error {
		return c.call(ctx, c.scripts.clear, c.stateKey()).Error()
	})
}

// Close implements [state.Cache]. What is cached stays for the other processes.
func (c *Cache) Close() error {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.isClosed {
		return nil
	}
	c.isClosed = true
	c.pumps.Wait()
	c.client.Close()
	return nil
}

// The names of keys.
func (c *Cache) stateKey() string { return c.tag + "g" }

func (c *Cache) copyKey(key state.Key) string { return c.tag + "r:" + floorName(key) }

// floorName names a record within the cache.
func floorName(key state.Key) string { return key.Namespace + ":" + string(key.Ref.Bytes()) }

// call runs a script on the state and one key more.
func (c *Cache) call(ctx context.Context, sc *script, key string, args ...string) rueidis.RedisResult {
	cl := call{script: sc, keys: []string{c.stateKey(), c.tag + "f", c.tag + "p", key}, args: args}
	r := c.client.Do(ctx, cl.byHash(c.client.B()))
	if forgotten(r) {
		r = c.client.Do(ctx, cl.whole(c.client.B()))
	}
	return r
}

// guarded makes a call within the patience, unless the server did not answer
// just now.
func (c *Cache) guarded(ctx context.Context, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.gate.RLock()
	defer c.gate.RUnlock()
	if c.isClosed {
		return state.ErrClosed
	}
	now := int64(time.Since(c.began))
	if now < c.rests.Load() {
		return errResting
	}
	patient, cancel := context.WithTimeout(ctx, c.opts.Patience)
	defer cancel()
	err := f(patient)
	if err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, answered := rueidis.IsRedisErr(err); !answered {
		c.rests.Store(now + int64(c.opts.Patience+cacheRest))
	}
	if patient.Err() != nil {
		// Not the caller's deadline, so it is not to look like that.
		err = fmt.Errorf("no answer within %v", c.opts.Patience)
	}
	return fmt.Errorf("cache in redis: %w: %w", state.ErrUnavailable, err)
}

// errResting: the server did not answer just now.
var errResting = fmt.Errorf("cache in redis: %w: it did not answer just now", state.ErrUnavailable)
