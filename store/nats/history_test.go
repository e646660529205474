package nats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// asked and told are an operation of a history: a nil op is a Get.
type asked struct{ op state.Op }

type told struct {
	unknown bool // it may have happened, then or never
	err     error
	version uint64
	value   string
	ended   bool
}

// recordState is what one record is in the model.
type recordState struct {
	there   bool
	gone    bool // ended: never comes back
	version uint64
	value   string
}

// model says which histories of one record are right: each operation that was
// answered took effect at one moment between question and answer; each of
// unknown outcome at some moment after the question, or never.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return recordState{} },
		Step: func(s, in, out any) (bool, any) {
			return stepModel(s.(recordState), in.(asked).op, out.(told))
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%T %+v", in.(asked).op, out) },
	}
}

func stepModel(s recordState, op state.Op, out told) (bool, any) {
	next, result := s, told{err: state.ErrNotFound}
	switch op := op.(type) {
	case nil:
		if s.there {
			result = told{version: s.version, value: s.value}
		}
	case state.CreateOp:
		result.err = state.ErrExists
		if !s.there && !s.gone {
			next = recordState{there: true, version: 1, value: string(op.Record.Data["n"])}
			result = told{version: 1}
		}
	case state.UpdateOp:
		switch {
		case s.there && s.version != op.Version:
			result.err = state.ErrConflict
		case s.there:
			next.version, next.value = s.version+1, string(op.Data["n"])
			result = told{version: next.version}
		}
	case state.DeleteOp:
		result = told{ended: s.there}
		if s.there {
			next = recordState{gone: true}
		}
	}
	if out.unknown {
		return true, next
	}
	match := errors.Is(out.err, result.err) && out.version == result.version && out.value == result.value && out.ended == result.ended
	return match, next
}

// A recorder runs clients against a store and records what they see.
type recorder struct {
	s     state.Store
	start time.Time
	made  *atomic.Int64   // operations of all recorders that say something
	over  <-chan struct{} // closed when nothing disturbs the clients any more
	mu    sync.Mutex      // guards ops
	ops   []porcupine.Operation
}

// forever is the answer time of what has none.
const forever = int64(1) << 60

// do makes an operation, and reports whether it says anything.
func (r *recorder) do(client int, key state.Key, op state.Op) (out told, made bool) {
	began := time.Since(r.start).Nanoseconds()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if op == nil {
		rec, err := r.s.Get(ctx, key)
		out = told{err: err, version: rec.Version, value: string(rec.Data["n"])}
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return out, false // a read that failed says nothing
		}
	} else {
		res, err := state.Do(ctx, r.s, op)
		out = told{err: err, version: res.Stamp.Version, ended: len(res.Ended) > 0}
		out.unknown = errors.Is(err, state.ErrUnknownOutcome)
		if !out.unknown && errors.Is(err, state.ErrUnavailable) {
			return out, false // not made
		}
	}
	ended := time.Since(r.start).Nanoseconds()
	if out.unknown {
		ended = forever
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: asked{op}, Call: began, Output: out, Return: ended})
	r.made.Add(1)
	return out, true
}

// client works on one record together with others, until n operations say
// something and nothing disturbs them any more.
func (r *recorder) client(id int, key state.Key, n int) {
	version := uint64(1)
	for i := 0; (i < n || !isClosed(r.over)) && time.Since(r.start) < patience; {
		if i >= n {
			time.Sleep(5 * time.Millisecond) // a longer history is not easier to judge
		}
		value := data(id*1000 + i)
		var out told
		var made bool
		switch p := rand.IntN(100); {
		case p < 10:
			op := creation(key, "alice")
			op.Record.Data = value
			out, made = r.do(id, key, op)
		case p < 55:
			out, made = r.do(id, key, state.UpdateOp{Key: key, Version: version, Data: value, ID: newID()})
		case p < 57 && i > n/2:
			out, made = r.do(id, key, state.DeleteOp{Key: key, Reason: state.ReasonLogout, ID: newID()})
		default:
			out, made = r.do(id, key, nil)
		}
		if out.version > 0 {
			version = out.version
		}
		if made {
			i++
		} else {
			time.Sleep(time.Millisecond) // an outage is not to use them up
		}
	}
}

// runHistories lets clients work on records until each has made 60 operations
// and disturb has returned, and judges what they saw. reached waits until so
// many operations were made in all, so that it does not depend on the speed of
// the machine whether something happens while clients work.
func runHistories(t *testing.T, s state.Store, records int, disturb func(reached func(int64))) (unknown int) {
	t.Helper()
	var made atomic.Int64
	over := make(chan struct{})
	go func() {
		defer close(over)
		disturb(func(n int64) {
			for start := time.Now(); made.Load() < n && time.Since(start) < patience; {
				time.Sleep(time.Millisecond)
			}
		})
	}()
	recorders := make([]*recorder, records)
	var wg sync.WaitGroup
	for i := range recorders {
		r := &recorder{s: s, start: time.Now(), made: &made, over: over}
		recorders[i] = r
		key := newKey(t, byte(i*53))
		for client := range 4 {
			wg.Go(func() { r.client(client, key, 60) })
		}
	}
	wg.Wait()
	<-over
	total := 0
	for i, r := range recorders {
		total += len(r.ops)
		for _, op := range r.ops {
			if op.Output.(told).unknown {
				unknown++
			}
		}
		if res := porcupine.CheckOperationsTimeout(model(), r.ops, 20*time.Second); res == porcupine.Illegal {
			t.Errorf("history %d of %d operations is not linearizable", i, len(r.ops))
		} else if res == porcupine.Unknown {
			t.Logf("history %d was not judged in time", i)
		}
	}
	t.Logf("%d operations, %d of unknown outcome", total, unknown)
	return unknown
}

// A server that is killed, and starts again with what it had synced, leaves no
// more of a mark than answers that were lost.
func TestKillsLeaveALinearizableHistory(t *testing.T) {
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{})
	runHistories(t, s, 2, func(reached func(int64)) {
		for n := range int64(2) {
			reached(100 + 100*n)
			server.Kill()
			server.Launch()
		}
	})
}

// The leader of the streams is killed, and comes back.
func TestKillOfALeaderLeavesALinearizableHistory(t *testing.T) {
	servers := natsserver.StartCluster(t, 3)
	s := open(t, connect(t, urls(servers)), nats.Options{Streams: 1, Replicas: 3, Timeout: 20 * time.Second})
	if g := s.Guarantees(); g.Replication != state.ReplicateQuorum || g.Durability != state.Replicated {
		t.Errorf("three replicas: declares %+v", g)
	}
	leader := leaderOf(t, s, servers)
	runHistories(t, s, 2, func(reached func(int64)) {
		reached(100)
		leader.Kill()
		reached(130)
		leader.Launch()
	})
}

func urls(servers []*natsserver.Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.URL())
	}
	return strings.Join(all, ",")
}

// leaderOf returns the server that leads the first stream.
func leaderOf(t *testing.T, s *nats.Store, servers []*natsserver.Server) *natsserver.Server {
	t.Helper()
	var leader *natsserver.Server
	eventually(t, "have a leader", func() error {
		members, err := s.Members(within(t, 10*time.Second))
		if err != nil {
			return err
		}
		var i int
		if _, err := fmt.Sscanf(members[0].Leader, "n%d", &i); err != nil || len(members[0].Members) != 2 {
			return fmt.Errorf("members %+v", members[0])
		}
		leader = servers[i]
		return nil
	})
	return leader
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestModelRefusesWrongHistories(t *testing.T) {
	key := newKey(t, 1)
	at := func(from, to int64, op state.Op, out told) porcupine.Operation {
		return porcupine.Operation{Input: asked{op}, Call: from, Output: out, Return: to}
	}
	made := at(1, 2, creation(key, "a"), told{version: 1})
	for name, ops := range map[string][]porcupine.Operation{
		"lost update":  {made, at(3, 4, state.UpdateOp{Key: key, Version: 1, Data: data(7)}, told{version: 2}), at(5, 6, nil, told{version: 1, value: "0"})},
		"resurrection": {made, at(3, 4, state.DeleteOp{Key: key}, told{ended: true}), at(5, 6, nil, told{version: 1, value: "0"})},
		"two winners": {made, at(3, 6, state.UpdateOp{Key: key, Version: 1, Data: data(7)}, told{version: 2}),
			at(3, 6, state.UpdateOp{Key: key, Version: 1, Data: data(8)}, told{version: 2})},
	} {
		if porcupine.CheckOperations(model(), ops) {
			t.Errorf("%s: the model allows it", name)
		}
	}
}
