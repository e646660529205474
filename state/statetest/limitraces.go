package statetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func limitRaceChecks() []check {
	return []check{
		{"EvictsExactly", limitRaceEvicts, 0},
		{"RefusesExactly", limitRaceRefuses, 0},
		{"SingleSession", limitRaceSingle, 0},
		{"TotalIsNeverExceeded", limitRaceTotal, exactTotal},
		{"CountsWhileOthersEnd", limitRaceEndings, 0},
		{"SeparatesUsers", limitRaceUsers, 0},
	}
}

const limitRacers = 64

// limitRaceEvicts lets 64 goroutines sign one user in with a limit of 5.
func limitRaceEvicts(e *env) {
	for range e.rounds(4) {
		e.evictRace("u-"+newNamespace(), 5)
	}
}

func limitRaceSingle(e *env) {
	for range e.rounds(4) {
		e.evictRace("u-"+newNamespace(), 1)
	}
}

// evictRace checks that exactly n are live in the end, that each of the others
// was evicted, and that none was evicted twice.
func (e *env) evictRace(name string, n int) {
	e.Helper()
	var mu sync.Mutex
	evicted := map[state.Ref]int{}
	made := map[state.Ref]bool{}
	e.parallel(limitRacers, func(int) error {
		op := e.createOp(lean, user(name), limit(state.Limit{PerUser: n}))
		r := e.store.Apply(e.ctx, op)[0]
		mu.Lock()
		defer mu.Unlock()
		made[op.Record.Ref] = true
		for _, ref := range endRefs(r.Ended) {
			evicted[ref]++
		}
		return r.Err
	})
	live := 0
	for _, r := range e.list(state.Query{Namespace: e.ns}) {
		if r.User != name {
			continue
		}
		live++
		if evicted[r.Ref] != 0 {
			e.Fatalf("%d Creates at once with a limit of %d: %v was evicted and is live", limitRacers, n, r.Ref)
		}
	}
	if live != n || len(evicted) != limitRacers-n {
		e.Fatalf("%d Creates at once with a limit of %d: %d are live and %d were evicted, want %d and %d",
			limitRacers, n, live, len(evicted), n, limitRacers-n)
	}
	for ref, times := range evicted {
		if times != 1 || !made[ref] {
			e.Fatalf("%d Creates at once with a limit of %d: %v was evicted %d times", limitRacers, n, ref, times)
		}
		e.gone(state.Key{Namespace: e.ns, Ref: ref})
	}
}

func limitRaceRefuses(e *env) {
	for range e.rounds(4) {
		name := "u-" + newNamespace()
		var won atomic.Int64
		e.parallel(limitRacers, func(int) error {
			err := e.store.Apply(e.ctx, e.createOp(lean, user(name), limit(state.Limit{PerUser: 5, Refuse: true})))[0].Err
			if err == nil {
				won.Add(1)
			}
			return among("create with a limit that refuses", err, state.ErrLimit)
		})
		if live := e.liveOf(name); won.Load() != 5 || live != 5 {
			e.Fatalf("%d Creates at once with a limit of 5 that refuses: %d succeeded and %d are live, want 5", limitRacers, won.Load(), live)
		}
	}
}

func limitRaceTotal(e *env) {
	var won atomic.Int64
	e.parallel(limitRacers, func(int) error {
		err := e.store.Apply(e.ctx, e.createOp(lean, limit(state.Limit{PerUser: 5, Total: 10})))[0].Err
		if err == nil {
			won.Add(1)
		}
		return among("create with a total limit", err, state.ErrLimit)
	})
	live := len(e.list(state.Query{Namespace: e.ns}))
	if won.Load() != 10 || live != 10 {
		e.Fatalf("%d Creates at once with a total limit of 10: %d succeeded and %d are live, want 10", limitRacers, won.Load(), live)
	}
}

// limitRaceEndings signs in while sessions end otherwise: the limit holds, and
// what is counted as ended adds up.
func limitRaceEndings(e *env) {
	var made, ended atomic.Int64
	brief := func(i int) func(*state.CreateOp) {
		return func(op *state.CreateOp) {
			if i%3 == 0 {
				op.Idle = e.life() + time.Duration(i)*time.Millisecond
			}
		}
	}
	e.parallel(16, func(i int) error {
		for n := range e.rounds(9) {
			op := e.createOp(lean, user("u"), brief(i+n), limit(state.Limit{PerUser: 4}))
			r := e.store.Apply(e.ctx, op)[0]
			if r.Err != nil {
				return fmt.Errorf("create: %w", r.Err)
			}
			made.Add(1)
			ended.Add(int64(len(r.Ended)))
			switch i % 4 {
			case 0:
				ended.Add(int64(len(e.store.Apply(e.ctx, state.DeleteOp{Key: op.Target(), Reason: state.ReasonLogout})[0].Ended)))
			case 1:
				ends, err := e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns})
				if err != nil {
					return fmt.Errorf("sweep: %w", err)
				}
				ended.Add(int64(len(ends)))
			case 2:
				if e.clock != nil {
					e.clock.Advance(e.life() / 8)
				}
			}
		}
		return nil
	})
	live := e.liveOf("u")
	if live > 4 {
		e.Fatalf("Creates with a limit of 4 while others end: %d are live", live)
	}
	e.must(e.createOp(lean, user("u"))) // without a limit: evicts nobody
	left := len(e.list(state.Query{Namespace: e.ns})) - 1
	ended.Add(int64(len(e.list(state.Query{Namespace: e.ns, Expired: true}))))
	if e.clock != nil && made.Load() != ended.Load()+int64(left) {
		e.Fatalf("Creates while others end: %d were made, but %d ended and %d are live", made.Load(), ended.Load(), left)
	}
}

func limitRaceUsers(e *env) {
	e.parallel(limitRacers, func(i int) error {
		name := fmt.Sprintf("user-%d", i%8)
		return e.store.Apply(e.ctx, e.createOp(lean, user(name), limit(state.Limit{PerUser: 2})))[0].Err
	})
	for i := range 8 {
		if n := e.liveOf(fmt.Sprintf("user-%d", i)); n != 2 {
			e.Fatalf("eight Creates at once for each of eight users with a limit of 2: one has %d, want 2", n)
		}
	}
}
