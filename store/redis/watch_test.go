package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// nextOf reads changes until one is of the type.
func nextOf(t *testing.T, changes <-chan state.Change, want state.ChangeType) state.Change {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				t.Fatalf("the watch ended, want %v", want)
			}
			if c.Type == want {
				return c
			}
		case <-timeout:
			t.Fatalf("no %v within %v", want, patience)
		}
	}
}

func watch(t *testing.T, s state.Store) <-chan state.Change {
	t.Helper()
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test", Beat: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestLostConnectionIsAGapAndTheWatchGoesOn(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	changes := watch(t, s)
	create(t, s, "alice")
	nextOf(t, changes, state.Created)
	for range 3 {
		server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		nextOf(t, changes, state.Gap)
		key := create(t, s, "alice")
		for c := nextOf(t, changes, state.Created); c.Key != key; c = nextOf(t, changes, state.Created) {
		}
	}
}

func TestLostMessageIsAGap(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	changes := watch(t, s)
	nextOf(t, changes, state.Beat)
	// A change that nobody hears of.
	server.Do("INCR", "coatcheck:{test.07}:q")
	nextOf(t, changes, state.Gap)
	// One in the middle: the next does not follow.
	server.Do("INCR", "coatcheck:{test.07}:q")
	create(t, s, "alice")
	nextOf(t, changes, state.Gap)
	// A server that knows less than was heard, as after a failover.
	server.Do("SET", "coatcheck:{test.07}:q", "0")
	nextOf(t, changes, state.Gap)
	key := create(t, s, "alice")
	for c := nextOf(t, changes, state.Created); c.Key != key; c = nextOf(t, changes, state.Created) {
	}
}

func TestRubbishOnTheChannelIsAGap(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	changes := watch(t, s)
	server.Do("PUBLISH", "coatcheck:test:changes", "hello")
	nextOf(t, changes, state.Gap)
}

func TestSilentServerGivesNoBeats(t *testing.T) {
	server := redisserver.Start(t)
	p := testkit.NewProxy(t, server.Addr())
	s := open(t, redis.Options{Addresses: []string{server.Addr()}, Dial: through(p), Mode: redis.Standalone, Timeout: time.Second})
	changes := watch(t, s)
	nextOf(t, changes, state.Beat)
	p.DropReplies()
	silent := time.NewTimer(patience)
	defer silent.Stop()
	quiet := 0
	for quiet < 5 { // beats on their way may still come
		select {
		case c := <-changes:
			quiet = 0
			if c.Type == state.Gap {
				quiet = 5 // noticed already
			}
		case <-time.After(200 * time.Millisecond):
			quiet++
		case <-silent.C:
			t.Fatal("it beats although nothing is heard")
		}
	}
	p.Calm()
	p.Break()
	nextOf(t, changes, state.Gap)
	eventually(t, "write again", func() error {
		return s.Apply(within(t, time.Second), creation(newKey(t, 7), "alice"))[0].Err
	})
	nextOf(t, changes, state.Created)
}

func TestOneConnectionServesAllWatchesOfANamespace(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}, ClientName: "watching", Pipelines: 1})
	for range 5 {
		watch(t, s)
	}
	eventually(t, "connections", func() error {
		if n := connections(server, "watching"); n != 1+1 {
			return errors.New(server.Do("CLIENT", "LIST"))
		}
		return nil
	})
}
