package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// open opens a store on what the options name, closed with the test.
func open(t testing.TB, opts redis.Options) *redis.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := redis.Open(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// harness describes stores on some servers. Each Open has keys of its own.
func harness(opts redis.Options) statetest.Harness {
	opened := make(map[state.Store]redis.Options)
	n := 0
	return statetest.Harness{
		OwnClock: true,
		Open: func(t testing.TB, clock *statetest.Clock) state.Store {
			t.Helper()
			n++
			o := opts
			if clock != nil {
				o = redis.WithClock(o, clock.Now)
			}
			o.Prefix = "test" + string(rune('a'+n%26)) + time.Now().Format("150405.000000") + ":"
			s := open(t, o)
			opened[s] = o
			return s
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			t.Helper()
			return open(t, opened[s])
		},
	}
}

func TestStandaloneKeepsTheContract(t *testing.T) {
	server := redisserver.Start(t)
	h := harness(redis.Options{Addresses: []string{server.Addr()}})
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

// The same with a clock that the suite moves, so that nothing is left out.
func TestStandaloneKeepsTheContractForDays(t *testing.T) {
	server := redisserver.Start(t)
	h := harness(redis.Options{Addresses: []string{server.Addr()}})
	h.OwnClock = false
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

func TestClusterKeepsTheContract(t *testing.T) {
	cluster := redisserver.StartCluster(t, 3, true)
	h := harness(redis.Options{
		Addresses: cluster.Addrs(), ClockError: state.Precision,
		WaitTimeout: time.Minute, // however busy the machine is
	})
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

func TestSentinelKeepsTheContract(t *testing.T) {
	set := redisserver.StartSentinels(t, 2)
	statetest.Run(t, harness(redis.Options{
		Addresses: set.Addrs(), Master: redisserver.MasterSet, ClockError: state.Precision,
		WaitTimeout: time.Minute, // however busy the machine is
	}))
}
