package cache_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, opts cache.Options) *cache.Cache {
	t.Helper()
	c, err := cache.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newRecord(t testing.TB) state.Record {
	t.Helper()
	ref, err := state.NewRef(1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Record{
		Namespace: "test", Kind: "session", Ref: ref, User: "alice",
		Stamp: state.Stamp{Version: 1, Revision: 1},
		Data:  map[string]json.RawMessage{"cart": json.RawMessage(`[]`)},
	}
}

func at(r state.Record, revision uint64) state.Record {
	r.Revision = revision
	return r
}

func generation(t testing.TB, c *cache.Cache) uint64 {
	t.Helper()
	g, err := c.Generation(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func fill(t testing.TB, c *cache.Cache, r state.Record, generation uint64) {
	t.Helper()
	if err := c.Fill(context.Background(), r, generation); err != nil {
		t.Fatal(err)
	}
}

func invalidate(t testing.TB, c *cache.Cache, key state.Key, revision uint64) {
	t.Helper()
	if err := c.Invalidate(context.Background(), key, revision); err != nil {
		t.Fatal(err)
	}
}

// revision returns what is cached; zero: nothing.
func revision(t testing.TB, c *cache.Cache, key state.Key) uint64 {
	t.Helper()
	r, ok, err := c.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return 0
	}
	return r.Revision
}

func TestACopyThatIsNotNewerIsRefused(t *testing.T) {
	c := open(t, cache.Options{})
	r := newRecord(t)
	g := generation(t, c)
	fill(t, c, at(r, 5), g)
	fill(t, c, at(r, 4), g)
	if got := revision(t, c, r.Key()); got != 5 {
		t.Errorf("want revision 5, got %d", got)
	}
	fill(t, c, at(r, 6), g)
	if got := revision(t, c, r.Key()); got != 6 {
		t.Errorf("want revision 6, got %d", got)
	}
}

func TestWhatWasInvalidatedIsRefusedFromThenOn(t *testing.T) {
	c := open(t, cache.Options{})
	r := newRecord(t)
	before := generation(t, c)
	fill(t, c, at(r, 5), before)
	invalidate(t, c, r.Key(), 5)
	if got := revision(t, c, r.Key()); got != 5 {
		t.Errorf("a copy as new as the invalidation is gone: %d", got)
	}
	invalidate(t, c, r.Key(), 6)
	for _, g := range []uint64{before, generation(t, c)} {
		fill(t, c, at(r, 5), g)
		if got := revision(t, c, r.Key()); got != 0 {
			t.Errorf("an old copy came back: %d", got)
		}
	}
	fill(t, c, at(r, 6), before)
	if got := revision(t, c, r.Key()); got != 6 {
		t.Errorf("a good copy was refused: %d", got)
	}
	invalidate(t, c, r.Key(), state.Ended)
	fill(t, c, at(r, 1<<60), generation(t, c))
	if got := revision(t, c, r.Key()); got != 0 {
		t.Errorf("an ended record came back: %d", got)
	}
}

func TestClearRefusesWhatWasReadBefore(t *testing.T) {
	c := open(t, cache.Options{})
	r := newRecord(t)
	g := generation(t, c)
	fill(t, c, r, g)
	if err := c.Clear(context.Background()); err != nil {
		t.Fatal(err)
	}
	fill(t, c, at(r, 9), g)
	if got := revision(t, c, r.Key()); got != 0 {
		t.Errorf("a copy read before the Clear was taken: %d", got)
	}
	fill(t, c, r, generation(t, c))
	if got := revision(t, c, r.Key()); got != 1 {
		t.Errorf("a copy read after the Clear was refused: %d", got)
	}
}

// So many invalidations of other keys that the one that matters is forgotten.
func TestAForgottenInvalidationStillRefusesOldCopies(t *testing.T) {
	c := open(t, cache.Options{MaxBytes: 1 << 20})
	r := newRecord(t)
	before := generation(t, c)
	invalidate(t, c, r.Key(), state.Ended)
	for range 30_000 {
		other := newRecord(t)
		invalidate(t, c, other.Key(), 1)
	}
	fill(t, c, at(r, 7), before)
	if got := revision(t, c, r.Key()); got != 0 {
		t.Fatalf("an ended record came back: %d", got)
	}
	// A late, lower invalidation must not pass for all that there was.
	invalidate(t, c, r.Key(), 2)
	fill(t, c, at(r, 7), before)
	if got := revision(t, c, r.Key()); got != 0 {
		t.Fatalf("an ended record came back after a late invalidation: %d", got)
	}
	fill(t, c, at(r, 7), generation(t, c))
	if got := revision(t, c, r.Key()); got != 7 {
		t.Errorf("a copy read afterwards was refused: %d", got)
	}
}

func TestCopiesAreNotShared(t *testing.T) {
	c := open(t, cache.Options{})
	r := newRecord(t)
	fill(t, c, r, generation(t, c))
	r.Data["cart"] = json.RawMessage(`"changed by who filled"`)
	got, _, _ := c.Get(context.Background(), r.Key())
	got.Data["cart"] = json.RawMessage(`"changed by who read"`)
	again, _, _ := c.Get(context.Background(), r.Key())
	if string(again.Data["cart"]) != `[]` {
		t.Errorf("got %s", again.Data["cart"])
	}
	bare := newRecord(t)
	bare.Data = nil
	fill(t, c, bare, generation(t, c))
	if got, _, _ := c.Get(context.Background(), bare.Key()); got.Data == nil {
		t.Error("Data of a returned record is nil")
	}
}

func TestGetAllocatesOnlyTheCopy(t *testing.T) {
	c := open(t, cache.Options{})
	r := newRecord(t)
	fill(t, c, r, generation(t, c))
	clone := testing.AllocsPerRun(1000, func() { _ = r.Clone() })
	got := testing.AllocsPerRun(1000, func() { _, _, _ = c.Get(context.Background(), r.Key()) })
	if got > clone {
		t.Errorf("Get allocates %v times, a copy of the record %v times", got, clone)
	}
}

func TestItStaysWithinItsBytes(t *testing.T) {
	var hits, misses atomic.Int64
	c := open(t, cache.Options{MaxBytes: 256 << 10, OnLookup: func(hit bool) {
		if hit {
			hits.Add(1)
		} else {
			misses.Add(1)
		}
	}})
	var keys []state.Key
	for range 1000 {
		r := newRecord(t)
		keys = append(keys, r.Key())
		fill(t, c, r, generation(t, c))
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		hits.Store(0)
		misses.Store(0)
		for _, key := range keys {
			revision(t, c, key)
		}
		// 256 KiB hold some 250 records of about a KiB.
		if hits.Load() > 0 && hits.Load() <= 300 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 1000 copies are kept in 256 KiB", hits.Load())
		}
	}
	if hits.Load()+misses.Load() != 1000 {
		t.Errorf("%d hits and %d misses reported for 1000 lookups", hits.Load(), misses.Load())
	}
}

// The race that caches lose: a reader takes a copy, the record changes and is
// invalidated, and only then the reader fills.
func TestARaceOfFillAndInvalidateNeverLeavesAnOldCopy(t *testing.T) {
	ctx := context.Background()
	c := open(t, cache.Options{MaxBytes: 1 << 20})
	r := newRecord(t)
	key := r.Key()
	var truth atomic.Uint64 // the store: its newest revision
	truth.Store(1)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g, _ := c.Generation(ctx)
				_ = c.Fill(ctx, at(r, truth.Load()), g)
			}
		})
	}
	for i := range 5000 {
		now := truth.Add(1)
		if i%64 == 0 {
			_ = c.Clear(ctx)
		} else {
			_ = c.Invalidate(ctx, key, now)
		}
		if got, ok, _ := c.Get(ctx, key); ok && got.Revision < now {
			t.Errorf("got revision %d after %d was announced", got.Revision, now)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestClosedCacheAnswersNothing(t *testing.T) {
	ctx := context.Background()
	c := open(t, cache.Options{})
	r := newRecord(t)
	_ = c.Close()
	_ = c.Close()
	_, _, getErr := c.Get(ctx, r.Key())
	_, genErr := c.Generation(ctx)
	for name, err := range map[string]error{
		"Get":        getErr,
		"Generation": genErr,
		"Fill":       c.Fill(ctx, r, 0),
		"Invalidate": c.Invalidate(ctx, r.Key(), 1),
		"Clear":      c.Clear(ctx),
	} {
		if !errors.Is(err, state.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
