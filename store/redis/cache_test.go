package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// openCache opens a cache that is patient: machines may be slow.
func openCache(t testing.TB, url string, opts redis.CacheOptions) *redis.Cache {
	t.Helper()
	if opts.Patience == 0 {
		opts.Patience = patience
	}
	c, err := redis.OpenCache(within(t, patience), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cache: %v", err)
		}
	})
	return c
}

// caches returns what opens caches of their own on a server.
func caches(address string, opts redis.CacheOptions) func(t testing.TB) state.Cache {
	opts.TTL = time.Hour
	n := 0
	return func(t testing.TB) state.Cache {
		n++
		return openCache(t, fmt.Sprintf("redis://%s?prefix=c%d:", address, n), opts)
	}
}

func TestCacheKeepsTheContract(t *testing.T) {
	statetest.RunCache(t, caches(redisserver.Start(t).Addr(), redis.CacheOptions{}))
}

// One that forgets most of what it is told.
func TestForgetfulCacheKeepsTheContract(t *testing.T) {
	statetest.RunCache(t, caches(redisserver.Start(t).Addr(), redis.WithFloors(redis.CacheOptions{}, 3)))
}

func TestCacheInAClusterKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("the same as on one server, on a node of a cluster")
	}
	statetest.RunCache(t, caches(redisserver.StartCluster(t, 3, false).Addrs()[0], redis.CacheOptions{}))
}

// copyOf returns a record as a store returns it.
func copyOf(key state.Key, revision uint64) state.Record {
	now := state.Cut(time.Now())
	return state.Record{
		Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: "alice", Data: data(int(revision)),
		Stamp: state.Stamp{
			Version: revision, Revision: revision, Created: now, LastAccessed: now,
			IdleDeadline: now.Add(time.Hour), AbsoluteDeadline: now.Add(time.Hour), Remaining: time.Hour,
		},
	}
}

func fill(t testing.TB, c state.Cache, r state.Record) uint64 {
	t.Helper()
	generation, err := c.Generation(t.Context())
	if err == nil {
		err = c.Fill(t.Context(), r, generation)
	}
	if err != nil {
		t.Fatal(err)
	}
	return generation
}

func has(t testing.TB, c state.Cache, key state.Key) bool {
	t.Helper()
	_, there, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// Several processes share what one has filled, and what one has invalidated.
func TestCachesWithOnePrefixAreOne(t *testing.T) {
	url := "redis://" + redisserver.Start(t).Addr()
	one, two := openCache(t, url, redis.CacheOptions{TTL: time.Hour}), openCache(t, url, redis.CacheOptions{TTL: time.Hour})
	key := newKey(t, 1)
	generation := fill(t, one, copyOf(key, 3))
	if !has(t, two, key) {
		t.Fatal("the other does not have it")
	}
	if err := two.Invalidate(t.Context(), key, state.Ended); err != nil {
		t.Fatal(err)
	}
	if err := one.Fill(t.Context(), copyOf(key, 9), generation); err != nil {
		t.Fatal(err)
	}
	if has(t, one, key) {
		t.Error("a late Fill of a record that the other ended is returned")
	}
}

func TestCopiesDoNotOutliveTheTTL(t *testing.T) {
	server := redisserver.Start(t)
	c := openCache(t, "redis://"+server.Addr(), redis.CacheOptions{TTL: 30 * time.Second})
	key := newKey(t, 1)
	fill(t, c, copyOf(key, 1))
	name := "{coatcheck:cache}:r:" + key.Namespace + ":" + string(key.Ref.Bytes())
	var ms int
	if _, err := fmt.Sscan(server.Do("PTTL", name), &ms); err != nil || ms <= 0 || ms > 30_000 {
		t.Errorf("it lives for %d ms more, %v", ms, err)
	}
	short := openCache(t, "redis://"+server.Addr()+"?prefix=short:", redis.CacheOptions{TTL: time.Millisecond})
	fill(t, short, copyOf(key, 1))
	eventually(t, "forget the copy", func() error {
		if has(t, short, key) {
			return errors.New("it is there")
		}
		return nil
	})
}

// What a server forgets of the invalidated, by eviction or in a restart, does
// not let an old copy in.
func TestForgottenFloorsAdmitNothingOld(t *testing.T) {
	server := redisserver.Start(t)
	url := "redis://" + server.Addr()
	for what, forget := range map[string]func(){
		"all of it":       func() { server.Do("FLUSHALL") },
		"the floors":      func() { server.Do("DEL", "{coatcheck:cache}:f") },
		"the state":       func() { server.Do("DEL", "{coatcheck:cache}:g") },
		"in a restart":    func() { server.Kill(); server.Launch() },
		"scripts as well": func() { server.Do("FLUSHALL"); server.Do("SCRIPT", "FLUSH") },
	} {
		c := openCache(t, url, redis.CacheOptions{TTL: time.Hour})
		key, kept := newKey(t, 1), newKey(t, 2)
		generation := fill(t, c, copyOf(kept, 1))
		if err := c.Invalidate(t.Context(), key, 5); err != nil {
			t.Fatal(err)
		}
		forget()
		late := copyOf(key, 4)
		eventually(t, "answer a Fill", func() error { return c.Fill(t.Context(), late, generation) })
		if has(t, c, key) {
			t.Errorf("%s: a copy that was read before it was invalidated is returned", what)
		}
		if err := c.Fill(t.Context(), copyOf(kept, 1), generation); err != nil || has(t, c, kept) {
			t.Errorf("%s: a Fill from before is admitted, %v", what, err)
		}
		if fill(t, c, copyOf(kept, 1)); !has(t, c, kept) {
			t.Errorf("%s: nothing is cached any more", what)
		}
	}
}

// A server that is silent costs its readers the patience once, and is used
// again when it answers.
func TestSilentCacheIsPassedBy(t *testing.T) {
	server := redisserver.Start(t)
	c, err := redis.OpenCache(within(t, patience), "redis://"+server.Addr(), redis.CacheOptions{TTL: time.Hour, Patience: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key := newKey(t, 1)
	fill(t, c, copyOf(key, 1))
	server.Suspend()
	_, _, err = c.Get(t.Context(), key)
	if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get from a server that is silent: %v", err)
	}
	began := time.Now()
	for range 100 {
		if _, _, err := c.Get(t.Context(), key); !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("Get after that: %v", err)
		}
		if time.Since(began) > 100*time.Millisecond {
			break // a slow machine: it may have been asked again
		}
	}
	server.Resume()
	eventually(t, "be used again", func() error {
		_, there, err := c.Get(t.Context(), key)
		if err == nil && !there {
			err = errors.New("no copy")
		}
		return err
	})
}

func TestOpenCacheRefusesWhatMakesNoSense(t *testing.T) {
	for _, url := range []string{"", "http://h", "redis://h?nonsense=1"} {
		if _, err := redis.OpenCache(t.Context(), url, redis.CacheOptions{}); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := redis.OpenCache(t.Context(), "redis://h", redis.CacheOptions{TTL: -1}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("negative: %v", err)
	}
	if _, err := redis.OpenCache(t.Context(), "redis://127.0.0.1:1", redis.CacheOptions{}); !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}
