package nats_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// connect connects to a server, until the test is over.
func connect(t testing.TB, url string, more ...natsgo.Option) *natsgo.Conn {
	t.Helper()
	opts := []natsgo.Option{natsgo.ReconnectBufSize(-1), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50 * time.Millisecond)}
	conn, err := natsgo.Connect(url, append(opts, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// open opens a store with two streams, closed with the test.
func open(t testing.TB, conn *natsgo.Conn, opts nats.Options) *nats.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if opts.Streams == 0 {
		opts.Streams = 2
	}
	s, err := nats.Open(ctx, conn, opts)
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

// harness describes stores on a server. Each Open has streams of its own.
func harness(conn *natsgo.Conn, opts nats.Options) statetest.Harness {
	opened := make(map[state.Store]nats.Options)
	var n atomic.Int64
	// However busy the machine is.
	opts.Timeout = time.Minute
	return statetest.Harness{
		Open: func(t testing.TB, clock *statetest.Clock) state.Store {
			t.Helper()
			o := opts
			if clock != nil {
				o = nats.WithClock(o, clock.Now)
			}
			o.Name = fmt.Sprintf("test%d", n.Add(1))
			s := open(t, conn, o)
			opened[s] = o
			return s
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			t.Helper()
			return open(t, conn, opened[s])
		},
	}
}

// Durability is not what the suites are about, so their servers need not sync.

func TestOneServerKeepsTheContract(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t, "-sync=false")
	h := harness(connect(t, server.URL()), nats.Options{})
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

// The same part with the servers' time, and records that really expire.
func TestEventsKeepTheContractByTheServersTime(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t, "-sync=false")
	h := harness(connect(t, server.URL()), nats.Options{})
	h.OwnClock = true
	statetest.RunEvents(t, h)
}

func TestClusterKeepsTheContract(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3, "-sync=false")
	h := harness(connect(t, urls(servers)), nats.Options{Streams: 1, Replicas: 3})
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

// Records expire by the servers' time, neither early nor late, and each ending
// is told once.
func TestExpiryByTheServersTime(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	s, other := open(t, conn, nats.Options{}), open(t, conn, nats.Options{})
	op := creation(newKey(t, 7), "alice")
	op.Idle, op.Lifetime = time.Second, time.Hour
	began := time.Now()
	do(t, s, op)
	eventually(t, "expire", func() error {
		_, err := other.Get(within(t, patience), op.Target())
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("it lives: %w", err)
	})
	if lived := time.Since(began); lived < op.Idle-s.Guarantees().ClockError {
		t.Errorf("it lived for %v, want %v", lived, op.Idle)
	}
	told := 0
	for _, s := range []*nats.Store{s, other} {
		eventually(t, "be told", func() error { // the two may be a little apart
			ends, err := s.Sweep(within(t, patience), state.SweepOptions{Namespace: "test"})
			told += len(ends)
			if told == 0 && err == nil {
				err = errors.New("not yet")
			}
			return err
		})
	}
	if told != 1 {
		t.Errorf("its end was told %d times, want once", told)
	}
}
