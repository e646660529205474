package nats_test

import (
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// countReads returns a function that says how many messages were read through the
// connection since it was last asked.
func countReads(t *testing.T, conn *natsgo.Conn) func() int {
	t.Helper()
	reads := make(chan *natsgo.Msg, 10_000)
	sub, err := conn.ChanSubscribe("$JS.API.STREAM.MSG.GET.>", reads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() (n int) {
		t.Helper()
		if err := conn.Flush(); err != nil { // all that was asked before is here
			t.Fatal(err)
		}
		for ; len(reads) > 0; n++ {
			<-reads
		}
		return n
	}
}

// shifted returns options with a clock that is ahead by what is stored.
func shifted(opts nats.Options) (nats.Options, *atomic.Int64) {
	var ahead atomic.Int64
	return nats.WithClock(opts, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }), &ahead
}

func sweep(t *testing.T, s *nats.Store) []state.End {
	t.Helper()
	ends, err := s.Sweep(within(t, patience), state.SweepOptions{Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

func TestASweepReadsOnlyWhatMayBeDue(t *testing.T) {
	t.Parallel()
	conn := connect(t, natsserver.Start(t, "-sync=false").URL())
	opts, ahead := shifted(nats.Options{Streams: 1})
	s := open(t, conn, opts)
	reads := countReads(t, conn)
	const have = 30
	keys := make([]state.Key, have)
	for i := range keys {
		op := creation(newKey(t, 7), "")
		op.Idle, op.Lifetime = time.Hour, 48*time.Hour
		do(t, s, op)
		keys[i] = op.Record.Key()
	}
	swept := func(what string, ends, atLeast, atMost int) {
		t.Helper()
		reads()
		got := len(sweep(t, s))
		if n := reads(); got != ends || n < atLeast || n > atMost {
			t.Errorf("%s: a sweep ended %d and read %d messages, want %d, and %d to %d", what, got, n, ends, atLeast, atMost)
		}
	}
	swept("at first", 0, have, have+1)
	swept("when all is known", 0, 0, 1)
	do(t, s, state.TouchOp{Key: keys[0], Idle: 5 * time.Hour})
	do(t, s, revocation(keys[1]))
	swept("after a touch and a revocation", 0, 0, 1)
	ahead.Store(int64(2 * time.Hour))
	swept("after the idle time", have-2, have, 4*have)
	swept("when there are new tombstones", 0, have-2, have)
	swept("when those are known", 0, 0, 1)
	ahead.Store(int64(state.TombstoneTTL + 3*time.Hour))
	swept("when all is over", 1, have, 4*have)
	op := creation(keys[1], "")
	do(t, s, op) // its tombstone is forgotten
}

func TestALifeThatAnotherProcessShortenedEndsInTime(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t, "-sync=false")
	opts, ahead := shifted(nats.Options{Streams: 2})
	sweeper, other := open(t, connect(t, server.URL()), opts), open(t, connect(t, server.URL()), opts)
	op := creation(newKey(t, 7), "alice")
	op.Idle, op.Lifetime = 5*time.Hour, 5*time.Hour
	do(t, other, op)
	if ends := sweep(t, sweeper); len(ends) != 0 {
		t.Fatalf("swept %v", ends)
	}
	do(t, other, state.ExtendOp{Key: op.Record.Key(), For: time.Minute, Max: 5 * time.Hour})
	ahead.Store(int64(2 * time.Minute))
	if ends := sweep(t, sweeper); len(ends) != 1 || ends[0].Reason != state.ReasonAbsolute {
		t.Errorf("a life that was shortened to a minute was not ended after two, but %v", ends)
	}
}
