package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

func TestKillAndRestartLosesNothingThatWasSynced(t *testing.T) {
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	if d := s.Guarantees().Durability; d != state.Synced {
		t.Errorf("with appendfsync always: declares %v", d)
	}
	l := history.StartLoad(t, s, 8)
	for round := range 3 {
		await(t, "writes", &l.Done, int64(200*(round+1)))
		server.Kill()
		server.Launch()
	}
	before := l.Done.Load()
	await(t, "writes after the restarts", &l.Done, before+200)
	l.Finish()
	checkConsistency(t, server.Addr())
}

func TestWithoutAppendOnlyFileTheStoreSaysThatItIsVolatile(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	if d := s.Guarantees().Durability; d != state.Volatile {
		t.Errorf("declares %v", d)
	}
	key := create(t, s, "alice")
	server.Kill()
	server.Launch()
	// The record is gone, as declared, and the store goes on: it sends the
	// scripts that the server has forgotten.
	eventually(t, "work after a restart", func() error {
		_, err := s.Get(within(t, time.Second), key)
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		return err
	})
	create(t, s, "alice")
}

func TestScriptsAreSentAgainWhenTheServerForgetsThem(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	l := history.StartLoad(t, s, 8)
	for round := range 20 {
		await(t, "writes", &l.Done, int64(50*(round+1)))
		server.Do("SCRIPT", "FLUSH")
	}
	l.Finish()
	if n := l.Lost.Load() + l.Out.Load(); n != 0 {
		t.Errorf("%d writes failed", n)
	}
	checkConsistency(t, server.Addr())
}

func TestPausedServerIsAnOutageAndPasses(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}, Timeout: time.Second})
	key := create(t, s, "alice")
	l := history.StartLoad(t, s, 4)
	await(t, "writes", &l.Done, 50)
	server.Suspend()
	if _, err := s.Get(within(t, 300*time.Millisecond), key); !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a deadline: %v", err)
	}
	err := s.Apply(within(t, 300*time.Millisecond), state.TouchOp{Key: key, Idle: time.Hour})[0].Err
	// It was sent, or waited behind what was.
	if !errors.Is(err, state.ErrUnknownOutcome) && !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Touch with a deadline: %v", err)
	}
	// Without a deadline the store's own bound counts.
	if _, err := s.Get(context.Background(), key); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Get without a deadline: %v", err)
	}
	server.Resume()
	before := l.Done.Load()
	await(t, "writes after the pause", &l.Done, before+50)
	l.Finish()
	checkConsistency(t, server.Addr())
}

func TestServerThatIsGoneIsUnavailable(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	key := create(t, s, "alice")
	server.Kill()
	// Once the end of the connection has been noticed nothing is sent any more.
	eventually(t, "say unavailable", func() error {
		err := s.Apply(within(t, time.Second), creation(newKey(t, 1), "bob"))[0].Err
		if errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome) {
			return nil
		}
		return err
	})
	if _, err := s.Get(within(t, time.Second), key); !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	for _, err := range s.List(within(t, time.Second), state.Query{Namespace: "test"}) {
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("List: %v", err)
		}
	}
	if _, err := s.Sweep(within(t, time.Second), state.SweepOptions{Namespace: "test"}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Sweep: %v", err)
	}
	if _, err := s.Watch(within(t, time.Second), state.WatchOptions{Namespace: "test"}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Watch: %v", err)
	}
}
