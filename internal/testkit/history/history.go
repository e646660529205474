// Package history records what clients of a store see while something disturbs
// them, and judges it: whether it is linearizable, and whether anything that was
// acknowledged is lost.
package history

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// patience is how long clients go on at most.
const patience = 60 * time.Second

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
		value := Data(id*1000 + i)
		var out told
		var made bool
		switch p := mathrand.IntN(100); {
		case p < 10:
			op := Creation(key, "alice")
			op.Record.Data = value
			out, made = r.do(id, key, op)
		case p < 55:
			out, made = r.do(id, key, state.UpdateOp{Key: key, Version: version, Data: value, ID: NewID()})
		case p < 57 && i > n/2:
			out, made = r.do(id, key, state.DeleteOp{Key: key, Reason: state.ReasonLogout, ID: NewID()})
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

// Run lets clients work on records until each has made 60 operations
// and disturb has returned, and judges what they saw. reached waits until so
// many operations were made in all, so that it does not depend on the speed of
// the machine whether something happens while clients work.
func Run(t testing.TB, s state.Store, records int, disturb func(reached func(int64))) (unknown int) {
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
		key := NewKey(t, byte(i*53))
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

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
