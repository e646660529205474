package sqlite

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// witnesses are the two ways to notice what others commit.
var witnesses = map[string]Options{"Index": {}, "DataVersion": {noWALPeek: true}}

func TestRevocationByAnotherProcessIsSeenByTheNextGet(t *testing.T) {
	for name, opts := range witnesses {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, "", opts)
			c := startChild(t, "revoker", s.path)
			for range 50 {
				key := create(t, s, "x")
				get(t, s, key)
				if err := c.tell(key.Ref.String()); err != nil {
					t.Fatal(err)
				}
				if !c.lines.Scan() || c.lines.Text() != "1" {
					t.Fatalf("the other process ended %q: %s", c.lines.Text(), c.stderr.String())
				}
				_, err := s.Get(t.Context(), key)
				gone, ok := errors.AsType[*state.NotFoundError](err)
				if !ok || gone.End == nil || gone.End.By != "operator" {
					t.Fatalf("Get after revocation: %v", err)
				}
			}
			if err := c.hangUp(); err != nil {
				t.Fatal(err)
			}
			if err := c.wait(); err != nil {
				t.Fatalf("%v: %s", err, c.stderr.String())
			}
		})
	}
}

func TestWritesOfAnotherStoreAreSeenByTheNextGet(t *testing.T) {
	for name, opts := range witnesses {
		t.Run(name, func(t *testing.T) {
			a := openTest(t, "", opts)
			b := openTest(t, a.path, opts)
			key := create(t, a, "0")
			busy := backgroundWrites(t, a)
			defer busy()
			for v := uint64(1); v < 100; v++ {
				writer, reader := a, b
				if v%2 == 0 {
					writer, reader = b, a
				}
				get(t, reader, key) // now it is in the reader's cache
				do(t, writer, state.UpdateOp{Key: key, Version: v, Data: valueData("x")})
				if r := get(t, reader, key); r.Version != v+1 {
					t.Fatalf("read version %d after %d was acknowledged", r.Version, v+1)
				}
				stamp := do(t, writer, state.TouchOp{Key: key, Idle: 3 * time.Hour}).Stamp
				if r := get(t, reader, key); r.Revision != stamp.Revision || !r.LastAccessed.Equal(stamp.LastAccessed) {
					t.Fatalf("read revision %d after touch to %d was acknowledged", r.Revision, stamp.Revision)
				}
			}
		})
	}
}

// backgroundWrites writes to the store until the function it returns is called.
func backgroundWrites(t *testing.T, s *Store) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	key := create(t, s, "")
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				if _, err := state.Do(t.Context(), s, state.TouchOp{Key: key, Idle: time.Hour}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// Many readers, and many writers through two handles: nobody may read a version
// older than one that was acknowledged before the read began.
func TestReadsNeverGoBack(t *testing.T) {
	for name, opts := range witnesses {
		t.Run(name, func(t *testing.T) {
			a := openTest(t, "", opts)
			b := openTest(t, a.path, opts)
			key := create(t, a, "")
			var acked sync.Map
			acked.Store("version", uint64(1))
			latest := func() uint64 { v, _ := acked.Load("version"); return v.(uint64) }
			quit := make(chan struct{})
			var readers sync.WaitGroup
			for i := range 4 {
				readers.Go(func() {
					s := []*Store{a, b}[i%2]
					for {
						select {
						case <-quit:
							return
						default:
						}
						want := latest()
						r, err := s.Get(t.Context(), key)
						if err != nil || r.Version < want {
							t.Errorf("read version %d (%v) after %d was acknowledged", r.Version, err, want)
							return
						}
					}
				})
			}
			for v := uint64(1); v < 30; v++ {
				s := []*Store{a, b}[v%2]
				do(t, s, state.UpdateOp{Key: key, Version: v, Data: valueData("x")})
				acked.Store("version", v+1)
			}
			close(quit)
			readers.Wait()
		})
	}
}

func TestGetNoticesWhatWasChangedByHand(t *testing.T) {
	for name, opts := range witnesses {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, "", opts)
			key := create(t, s, "x")
			get(t, s, key)
			byHand(t, s, "DELETE FROM records")
			if _, err := s.Get(t.Context(), key); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("Get after the row was deleted in SQL: %v", err)
			}
		})
	}
}

// byHand does what an operator with an SQL shell would.
func byHand(t testing.TB, s *Store, sql string) {
	t.Helper()
	c, err := s.connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.db.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

func TestCacheIsClearedWhenTheChangesAreGone(t *testing.T) {
	a := openTest(t, "", Options{})
	b := openTest(t, a.path, Options{})
	key := create(t, a, "x")
	get(t, a, key)
	do(t, b, state.UpdateOp{Key: key, Version: 1, Data: valueData("y")})
	byHand(t, a, "DELETE FROM changes WHERE pos < (SELECT max(pos) FROM changes)")
	create(t, b, "other")
	byHand(t, a, "DELETE FROM changes WHERE pos < (SELECT max(pos) FROM changes)")
	if r := get(t, a, key); r.Version != 2 {
		t.Errorf("read version %d, want 2", r.Version)
	}
}

// In the steady state a Get must not read the database, and own commits must
// not make it do so.
func TestGetIsAnsweredFromMemory(t *testing.T) {
	hits, misses := 0, 0
	s := openTest(t, "", Options{OnLookup: func(hit bool) {
		if hit {
			hits++
		} else {
			misses++
		}
	}})
	key := create(t, s, "x")
	for range 20 { // beyond the small counts that prove nothing
		create(t, s, "other")
	}
	get(t, s, key)
	for v := uint64(1); v < 50; v++ {
		do(t, s, state.UpdateOp{Key: key, Version: v, Data: valueData("x")})
		if m, ok := s.cache.witness.glance(); !ok || m != *s.cache.seen.Load() {
			t.Fatal("after an own commit the cache is not known to be right")
		}
		get(t, s, key)
		do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
		get(t, s, key)
	}
	if misses != 0 || hits != 99 {
		t.Errorf("%d hits and %d misses, want 99 and 0", hits, misses)
	}
}
