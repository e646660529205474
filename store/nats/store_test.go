package nats_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
	natsgo "github.com/nats-io/nats.go"
)

// connect connects to a server, until the test is over.
func connect(t testing.TB, url string) *natsgo.Conn {
	t.Helper()
	conn, err := natsgo.Connect(url, natsgo.ReconnectBufSize(-1), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond))
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
		OwnClock: true,
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

func TestOneServerKeepsTheContract(t *testing.T) {
	server := natsserver.Start(t, "-sync=false") // durability is not what it is about
	h := harness(connect(t, server.URL()), nats.Options{})
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}

// The same with a clock that the suite moves, so that nothing is left out.
func TestOneServerKeepsTheContractForDays(t *testing.T) {
	server := natsserver.Start(t, "-sync=false") // durability is not what it is about
	h := harness(connect(t, server.URL()), nats.Options{})
	h.OwnClock = false
	statetest.Run(t, h)
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
}
