package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// A load runs clients against a few records and writes down what they see.
type load struct {
	s    state.Store
	keys []state.Key

	start   time.Time
	value   atomic.Int64
	mu      sync.Mutex // guards history
	history []porcupine.Operation
	acked   atomic.Int64
	failed  atomic.Int64
}

// What a client wants of a record, and what it got.
type (
	want struct {
		key     int
		op      string // "get", "update", "delete"
		version uint64
		value   int64
	}
	got struct {
		outcome string // "ok", "conflict", "not found", "unknown"
		version uint64
		value   int64
	}
)

func newLoad(t *testing.T, s state.Store, n int) *load {
	l := &load{s: s, start: time.Now()}
	for range n {
		op := creation(t, "ann")
		op.Record.Data = map[string]json.RawMessage{"n": json.RawMessage("0")}
		do(t, s, op)
		l.keys = append(l.keys, op.Target())
	}
	return l
}

// run lets clients work until stop is closed.
func (l *load) run(t *testing.T, clients int, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 7))
			seen := make([]uint64, len(l.keys))
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.step(t, c, rnd, seen)
			}
		})
	}
	return &wg
}

func (l *load) step(t *testing.T, client int, rnd *rand.Rand, seen []uint64) {
	k := rnd.IntN(len(l.keys))
	w := want{key: k, op: "get", version: max(seen[k], 1)}
	switch p := rnd.IntN(1000); {
	case p < 500:
		w.op, w.value = "update", l.value.Add(1)
	case p == 999:
		w.op = "delete"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	call := time.Since(l.start)
	g, err := l.do(ctx, w)
	end := time.Since(l.start)
	if g.version > 0 {
		seen[k] = g.version
	}
	switch {
	case err == nil:
		l.acked.Add(1)
	case errors.Is(err, state.ErrUnknownOutcome):
		l.failed.Add(1)
		if w.op == "get" {
			t.Errorf("a read with an unknown outcome: %v", err)
		}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		l.failed.Add(1)
		return // nothing happened
	default:
		t.Errorf("%s: %v", w.op, err)
		return
	}
	o := porcupine.Operation{ClientId: client, Input: w, Output: g, Call: int64(call), Return: int64(end)}
	if g.outcome == "unknown" {
		o.Return = 1 << 62 // it may still happen
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.outcome == "unknown" {
		o.ClientId = 1000 + len(l.history) // the client goes on meanwhile
	}
	l.history = append(l.history, o)
}

func (l *load) do(ctx context.Context, w want) (got, error) {
	key := l.keys[w.key]
	var err error
	var g got
	switch w.op {
	case "get":
		var r state.Record
		if r, err = l.s.Get(ctx, key); err == nil {
			n, perr := strconv.ParseInt(string(r.Data["n"]), 10, 64)
			g = got{"ok", r.Version, n}
			err = perr
		}
	case "update":
		var r state.Result
		data := map[string]json.RawMessage{"n": json.RawMessage(strconv.FormatInt(w.value, 10))}
		r, err = state.Do(ctx, l.s, state.UpdateOp{Key: key, Version: w.version, Data: data})
		g = got{"ok", r.Stamp.Version, w.value}
	case "delete":
		_, err = state.Do(ctx, l.s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
		g.outcome = "ok"
	}
	var conflict *state.ConflictError
	switch {
	case err == nil:
		return g, nil
	case errors.As(err, &conflict):
		return got{outcome: "conflict", version: conflict.Have}, nil
	case errors.Is(err, state.ErrNotFound):
		return got{outcome: "not found"}, nil
	case errors.Is(err, state.ErrUnknownOutcome):
		return got{outcome: "unknown"}, err
	}
	return got{}, err
}

// A register is what the model knows of a record; version 0 is a deleted one.
type register struct {
	version uint64
	value   int64
}

var registers = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(want).key
			byKey[k] = append(byKey[k], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range byKey {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() []any { return []any{register{1, 0}} },
	Step: func(st, in, out any) []any {
		r, w, g := st.(register), in.(want), out.(got)
		if g.outcome == "unknown" {
			next, _ := r.step(w)
			return []any{r, next}
		}
		next, expected := r.step(w)
		if expected != g {
			return nil
		}
		return []any{next}
	},
	Equal: func(a, b any) bool { return a == b },
}

func (r register) step(w want) (register, got) {
	switch {
	case w.op == "delete":
		return register{}, got{outcome: "ok"}
	case r.version == 0:
		return r, got{outcome: "not found"}
	case w.op == "get":
		return r, got{"ok", r.version, r.value}
	case w.version != r.version:
		return r, got{outcome: "conflict", version: r.version}
	}
	next := register{r.version + 1, w.value}
	return next, got{"ok", next.version, next.value}
}

// check ends the load with a last look at every record, and checks that what
// everybody saw is what one store could have shown.
func (l *load) check(t *testing.T, name string) {
	t.Helper()
	for k := range l.keys {
		var g got
		w := want{key: k, op: "get"}
		call := time.Since(l.start)
		poll(t, "the store to answer", func() (ok bool) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			call = time.Since(l.start)
			var err error
			g, err = l.do(ctx, w)
			return err == nil
		})
		l.history = append(l.history, porcupine.Operation{Input: w, Output: g, Call: int64(call), Return: int64(time.Since(l.start))})
	}
	t.Logf("%s: %d answers, %d failures", name, l.acked.Load(), l.failed.Load())
	if l.acked.Load() < 100 {
		t.Errorf("%s: only %d answers; the load shows nothing", name, l.acked.Load())
	}
	switch res := porcupine.CheckOperationsTimeout(registers.ToModel(), l.history, 60*time.Second); res {
	case porcupine.Illegal:
		t.Errorf("%s: what the clients saw is not linearizable", name)
	case porcupine.Unknown:
		t.Logf("%s: porcupine did not finish", name)
	}
}

// meanwhile runs a load, disturbs it, and checks it.
func meanwhile(t *testing.T, s state.Store, disturb func(l *load)) {
	t.Helper()
	l := newLoad(t, s, 12)
	stop := make(chan struct{})
	wg := l.run(t, 12, stop)
	l.progress(t, 300)
	disturb(l)
	l.progress(t, 300)
	close(stop)
	wg.Wait()
	l.check(t, t.Name())
}

// progress waits until so many more calls have been answered.
func (l *load) progress(t *testing.T, n int64) {
	t.Helper()
	to := l.acked.Load() + n
	poll(t, "progress", func() bool { return l.acked.Load() >= to })
}

func TestNothingAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{Sync: true})
	s := open(t, server.Database(t), postgres.Options{})
	meanwhile(t, s, func(l *load) {
		for range 2 {
			server.Kill(t)
			before := l.failed.Load()
			poll(t, "calls to fail", func() bool { return l.failed.Load() > before+20 })
			server.Restart(t)
			l.progress(t, 100)
		}
	})
}

func TestPausedServerIsAnOutageWithinTheDeadline(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	s := open(t, server.Database(t), postgres.Options{})
	key := create(t, s, "ann")
	meanwhile(t, s, func(l *load) {
		server.Pause(t)
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			start := time.Now()
			_, err := s.Get(ctx, key)
			if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrNotFound) {
				t.Errorf("Get from a paused server: %v", err)
			}
			_, err = state.Do(ctx, s, state.TouchOp{Key: key, Idle: time.Hour})
			if !errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Touch of a paused server: %v", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("calls with 300 ms of time took %v", d)
			}
			cancel()
		}
		before := l.failed.Load()
		poll(t, "calls to fail", func() bool { return l.failed.Load() > before+20 })
		server.Resume(t)
	})
}

func TestConnectionsCutInTheMiddleOfReplies(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	url := server.Database(t)
	w := newWire(t, server.Addr())
	s := open(t, strings.Replace(url, server.Addr(), w.addr(), 1), postgres.Options{})
	meanwhile(t, s, func(l *load) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 40 {
			w.cutAfter(rnd.IntN(6000))
			l.progress(t, 30)
		}
	})
}

func TestSilentNetworkHoldsNobodyUp(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	url := server.Database(t)
	w := newWire(t, server.Addr())
	s := open(t, strings.Replace(url, server.Addr(), w.addr(), 1), postgres.Options{ConnectTimeout: time.Second})
	meanwhile(t, s, func(l *load) {
		w.stall()
		before := l.failed.Load()
		poll(t, "calls to fail", func() bool { return l.failed.Load() > before+30 })
		w.cut() // what comes after a silence like that
		w.resume()
	})
}

// TestLostAnswersAreUnknownOrTold cuts the connection in which a write is, and
// checks that the caller never hears a wrong answer.
func TestLostAnswersAreUnknownOrTold(t *testing.T) {
	server := postgresserver.Shared(t)
	url := server.Database(t)
	w := newWire(t, server.Addr())
	s := open(t, strings.Replace(url, server.Addr(), w.addr(), 1), postgres.Options{})
	unknown := 0
	for i := range 60 {
		op := creation(t, "ann")
		op.ID = state.OpID{1, byte(i)}
		w.cutAfter(i * 7)
		_, err := state.Do(t.Context(), s, op)
		r, getErr := getWhenUp(t, s, op.Target())
		switch {
		case err == nil && (getErr != nil || r.LastOp != op.ID):
			t.Fatalf("cut after %d bytes: acknowledged, but %v", i*7, getErr)
		case errors.Is(err, state.ErrUnknownOutcome):
			unknown++
		case errors.Is(err, state.ErrUnavailable) && !errors.Is(getErr, state.ErrNotFound):
			t.Fatalf("cut after %d bytes: said to be not written, but it is there", i*7)
		case err != nil && !errors.Is(err, state.ErrUnavailable):
			t.Fatalf("cut after %d bytes: %v", i*7, err)
		}
		w.cutAfter(-1)
	}
	if unknown == 0 {
		t.Error("no answer was lost; the test shows nothing")
	}
}

func getWhenUp(t *testing.T, s state.Store, k state.Key) (r state.Record, err error) {
	t.Helper()
	poll(t, "the store to answer", func() bool {
		r, err = s.Get(t.Context(), k)
		return err == nil || errors.Is(err, state.ErrNotFound)
	})
	return r, err
}

func TestSweepsAndWritersDoNotDeadlock(t *testing.T) {
	url := postgresserver.Shared(t).Database(t)
	stores := []*postgres.Store{open(t, url, postgres.Options{}), open(t, url, postgres.Options{})}
	var wg sync.WaitGroup
	deadline := time.Now().Add(4 * time.Second)
	var swept, evicted atomic.Int64
	var mu sync.Mutex
	var pool []state.Key // guarded by mu
	for n := range 16 {
		s := stores[n%2]
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 1))
			for time.Now().Before(deadline) {
				var ops []state.Op
				for range 1 + rnd.IntN(8) {
					op := creation(t, fmt.Sprint("user", rnd.IntN(5)))
					op.Idle = time.Duration(20+rnd.IntN(200)) * time.Millisecond
					op.Limit = state.Limit{PerUser: 6 * rnd.IntN(2), Total: 1000 * rnd.IntN(2)}
					ops = append(ops, op)
					mu.Lock()
					pool = append(pool, op.Target())
					k, first := pool[rnd.IntN(len(pool))], pool[0]
					mu.Unlock()
					ops = append(ops, state.TouchOp{Key: k, Idle: 50 * time.Millisecond}, state.DeleteOp{Key: first, Reason: "x"},
						state.UpdateOp{Key: k, Version: 1, Data: op.Record.Data})
				}
				rnd.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
				for _, r := range s.Apply(t.Context(), ops...) {
					evicted.Add(int64(len(r.Ended)))
					if r.Err != nil && (errors.Is(r.Err, state.ErrUnavailable) || errors.Is(r.Err, state.ErrUnknownOutcome)) {
						t.Error(r.Err)
					}
				}
			}
		})
	}
	for n := range 3 {
		wg.Go(func() {
			for time.Now().Before(deadline) {
				ends, err := stores[n%2].Sweep(t.Context(), state.SweepOptions{Namespace: space, Max: 50})
				if err != nil {
					t.Error(err)
				}
				swept.Add(int64(len(ends)))
			}
		})
	}
	wg.Wait()
	if swept.Load() == 0 || evicted.Load() == 0 {
		t.Errorf("%d swept and %d ended; the test shows nothing", swept.Load(), evicted.Load())
	}
	stats := "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database() AND pg_stat_force_next_flush() IS NOT NULL"
	if n := ask[int](t, stores[0], stats); n != 0 {
		t.Errorf("the server broke %d deadlocks", n)
	}
	stored := ask[int](t, stores[0], "SELECT count(*)::int - (SELECT sum(stored) FROM session_totals)::int FROM sessions")
	if stored != 0 {
		t.Errorf("there are %d rows more than are counted", stored)
	}
}

// TestLimitsAreExactAcrossProcesses races creates of two stores.
func TestLimitsAreExactAcrossProcesses(t *testing.T) {
	url := postgresserver.Shared(t).Database(t)
	stores := []*postgres.Store{open(t, url, postgres.Options{}), open(t, url, postgres.Options{})}
	limits := map[string]state.Limit{
		"evict": {PerUser: 3}, "refuse": {PerUser: 3, Refuse: true}, "total": {Total: 3}, "both": {PerUser: 3, Total: 3},
	}
	for kind, l := range limits {
		var wg sync.WaitGroup
		for n := range 48 {
			wg.Go(func() {
				op := creation(t, "ann")
				op.Record.Kind, op.Limit = kind, l
				_, err := state.Do(t.Context(), stores[n%2], op)
				if err != nil && !errors.Is(err, state.ErrLimit) {
					t.Error(err)
				}
				live := 0
				for _, err := range stores[n%2].List(t.Context(), state.Query{Namespace: space, Kind: kind}) {
					if err != nil {
						t.Error(err)
					}
					live++
				}
				if live > 3 {
					t.Errorf("%s: %d live records, at most 3 are allowed", kind, live)
				}
			})
		}
		wg.Wait()
		if n := ask[int](t, stores[0], "SELECT count(*) FROM sessions WHERE kind = $1", kind); n != 3 {
			t.Errorf("%s: %d records in the end, want 3", kind, n)
		}
	}
}

// TestTheModelNoticesLostWrites shows that the check above can fail.
func TestTheModelNoticesLostWrites(t *testing.T) {
	op := func(n int64, w want, g got) porcupine.Operation {
		return porcupine.Operation{ClientId: 1, Input: w, Output: g, Call: n, Return: n + 1}
	}
	wrote := op(1, want{op: "update", version: 1, value: 5}, got{"ok", 2, 5})
	for name, h := range map[string][]porcupine.Operation{
		"lost":        {wrote, op(3, want{op: "get"}, got{"ok", 1, 0})},
		"resurrected": {op(1, want{op: "delete"}, got{outcome: "ok"}), op(3, want{op: "get"}, got{"ok", 1, 0})},
		"doubled":     {wrote, op(3, want{op: "update", version: 1, value: 6}, got{"ok", 2, 6})},
	} {
		if porcupine.CheckOperations(registers.ToModel(), h) {
			t.Errorf("a %s write passes", name)
		}
	}
	if !porcupine.CheckOperations(registers.ToModel(), []porcupine.Operation{wrote, op(3, want{op: "get"}, got{"ok", 2, 5})}) {
		t.Error("a good history does not pass")
	}
}
