package statetest

import (
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func historyChecks() []check {
	return []check{
		{"IsLinearizable", historyLive, 0},
		{"IsLinearizableAcrossExpiry", historyExpiry, 0},
	}
}

// A call is what a client asked for in a history.
type call struct {
	op   state.Op // nil: a Get
	key  state.Key
	from time.Time // the store's time was not earlier when it was asked
}

// An answer is what the client was told.
type answer struct {
	res state.Result
	rec state.Record // of a Get
	to  time.Time    // the store's time was not later when it answered
}

// A history is what concurrent clients asked and were told.
type history struct {
	*env
	stores []state.Store // handles on the same records, which the clients share out
	keys   []state.Key
	life   time.Duration // of records and touches
	round  int           // seeds the clients' choices
	start  time.Time
	watch  storeClock

	versions, epochs []atomic.Uint64 // by key: what was seen last
	values           atomic.Int64
	mu               sync.Mutex
	ops              map[state.Ref][]porcupine.Operation // guarded by mu
	made             map[state.Ref]bool                  // guarded by mu
	endings          map[state.Ref]int                   // guarded by mu
}

const (
	historyClients = 8
	historyCalls   = 80 // by each client
	historyKeys    = 20
	historyWindow  = 5 // keys in use at a time, so that clients meet
)

// historyLive records a history in which only deletes end records.
func historyLive(e *env) {
	for round := range e.rounds(8) {
		e.newHistory(longLife, round).run()
	}
}

// historyExpiry records a history in which records expire all the time.
func historyExpiry(e *env) {
	if e.clock == nil {
		e.newHistory(e.life(), 0).run()
		return
	}
	for round := range e.rounds(8) {
		e.newHistory(40*time.Millisecond, round).run()
	}
}

// rounds is n, less in short mode.
func (e *env) rounds(n int) int {
	if testing.Short() {
		return max(1, n/3)
	}
	return n
}

func (e *env) newHistory(life time.Duration, round int) *history {
	h := &history{
		env: e, stores: []state.Store{e.store}, life: life, round: round, start: time.Now(), watch: e.readClock(),
		versions: make([]atomic.Uint64, historyKeys), epochs: make([]atomic.Uint64, historyKeys),
		ops: map[state.Ref][]porcupine.Operation{}, made: map[state.Ref]bool{}, endings: map[state.Ref]int{},
	}
	for range h.versions {
		h.keys = append(h.keys, e.key())
	}
	return h
}

func (h *history) run() {
	h.Helper()
	var clients sync.WaitGroup
	errs := make([]error, historyClients+1)
	done := make(chan struct{})
	for i := range historyClients {
		clients.Go(func() { errs[i] = h.client(i) })
	}
	var sweeper sync.WaitGroup
	sweeper.Go(func() { errs[historyClients] = h.sweeper(done) })
	clients.Wait()
	close(done)
	sweeper.Wait()
	if err := errors.Join(errs...); err != nil {
		h.Fatal(err)
	}
	for ref, ops := range h.ops {
		h.judge(ref, ops)
	}
	h.countEndings()
}

// sweeper sweeps while the clients write: it must not be noticed.
func (h *history) sweeper(done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		ends, err := h.store.Sweep(h.ctx, state.SweepOptions{Namespace: h.ns, Max: 2})
		if err != nil {
			return fmt.Errorf("sweep during a history: %w", err)
		}
		h.ended(ends)
		h.pause(time.Millisecond)
	}
}

func (h *history) ended(ends []state.End) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, end := range ends {
		h.endings[end.Key.Ref]++
	}
}

// countEndings checks that each record ended exactly once, whoever ended it, or
// is still there.
func (h *history) countEndings() {
	h.Helper()
	// A record may expire between the two lists, and stands in both.
	standing := map[state.Ref]bool{}
	for _, expired := range []bool{false, true} {
		for _, r := range h.list(state.Query{Namespace: h.ns, Expired: expired}) {
			standing[r.Ref] = true
		}
	}
	for ref := range standing {
		h.endings[ref]++
	}
	for ref := range h.made {
		if n := h.endings[ref]; n != 1 {
			h.Fatalf("history: %v ended or stands %d times, want once", ref, n)
		}
	}
}

// client performs random operations.
func (h *history) client(id int) error {
	rnd := mathrand.New(mathrand.NewPCG(uint64(id), uint64(h.round)))
	for n := range historyCalls {
		i := n*(len(h.keys)-historyWindow)/historyCalls + rnd.IntN(historyWindow)
		if err := h.step(id, i, h.draw(rnd, i)); err != nil {
			return err
		}
		switch {
		case h.clock == nil && h.life < longLife:
			h.pause(h.life / 50) // so that lives end within the history
		case h.clock != nil && h.life < longLife && rnd.IntN(3) == 0:
			h.clock.Advance(time.Duration(rnd.IntN(3000)) * time.Microsecond)
		}
	}
	return nil
}

// draw returns an operation on key i; nil for a Get.
func (h *history) draw(rnd *mathrand.Rand, i int) state.Op {
	k := h.keys[i]
	// Now and then a client knows only what was before.
	epoch, version := h.epochs[i].Load(), max(h.versions[i].Load(), 1)
	if rnd.IntN(3) == 0 {
		epoch, version = max(epoch, 1)-1, max(version, 2)-1
	}
	maybe := epoch * uint64(rnd.IntN(2))
	life := h.life/2 + time.Duration(rnd.Int64N(int64(h.life)))
	switch n := rnd.IntN(20); {
	case n < 3:
		return h.createOp(at(k), user("u"), lean, h.tagged(), func(op *state.CreateOp) { op.Idle, op.Lifetime = life, 2*life })
	case n < 7:
		op := state.UpdateOp{Key: k, Version: version, Epoch: maybe, ID: newOpID()}
		op.Data = data("v", strconv.FormatInt(h.values.Add(1), 10))
		return op
	case n < 10:
		return state.TouchOp{Key: k, Idle: life, Epoch: maybe}
	case n < 11:
		return state.ExtendOp{Key: k, For: life, Max: 4 * h.life, Epoch: maybe}
	case n < 14:
		return state.SetOwnerOp{Key: k, Epoch: epoch, Owner: strconv.Itoa(rnd.IntN(3))}
	case n < 15 && rnd.IntN(3) == 0:
		return state.DeleteOp{Key: k, Reason: state.ReasonLogout, Epoch: maybe}
	}
	return nil
}

// tagged gives a record a value that no other write gives.
func (h *history) tagged() func(*state.CreateOp) {
	v := strconv.FormatInt(h.values.Add(1), 10)
	return func(op *state.CreateOp) { op.Record.Data = data("v", v) }
}

// step performs one operation and records it.
func (h *history) step(client, i int, op state.Op) error {
	store := h.stores[client%len(h.stores)]
	in := call{op: op, key: h.keys[i], from: h.watch.earliest()}
	var out answer
	began := time.Since(h.start)
	if op == nil {
		out.rec, out.res.Err = store.Get(h.ctx, in.key)
		out.res.Stamp = out.rec.Stamp
		began -= h.g.Staleness // it may show what was true so long ago
		in.from = in.from.Add(-h.g.Staleness)
	} else {
		out.res = store.Apply(h.ctx, op)[0]
	}
	returned := time.Since(h.start)
	out.to = h.watch.latest()
	if err := among(fmt.Sprintf("%T in a history", op), out.res.Err, state.ErrNotFound, state.ErrExists, state.ErrConflict, state.ErrFenced); err != nil {
		return err
	}
	if out.res.Err == nil && out.res.Stamp.Version != 0 {
		h.versions[i].Store(out.res.Stamp.Version)
		h.epochs[i].Store(out.res.Stamp.Epoch)
	}
	h.ended(out.res.Ended)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := op.(state.CreateOp); ok && out.res.Err == nil {
		h.made[in.key.Ref] = true
	}
	h.ops[in.key.Ref] = append(h.ops[in.key.Ref], porcupine.Operation{
		ClientId: client, Input: in, Output: out, Call: began.Nanoseconds(), Return: returned.Nanoseconds(),
	})
	return nil
}

// judge lets porcupine decide whether there is an order in which a store that
// does one thing at a time gives the same answers.
func (h *history) judge(ref state.Ref, ops []porcupine.Operation) {
	h.Helper()
	m := porcupine.Model{
		Init: func() any { return cell{} },
		Step: func(s, in, out any) (bool, any) {
			c, why := s.(cell).step(in.(call), out.(answer), h.g.ClockError+h.g.Staleness)
			return why == "", c
		},
	}
	switch porcupine.CheckOperationsTimeout(m, ops, h.h.within()) {
	case porcupine.Illegal:
		h.Fatalf("history of %v: no order of these operations explains the answers:\n%s", ref, describeHistory(ops))
	case porcupine.Unknown:
		h.Logf("history of %v: porcupine came to no verdict on %d operations in %v", ref, len(ops), h.h.within())
	}
}

// describeHistory prints what happened, in the order of the calls.
func describeHistory(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range ops {
		in, out := op.Input.(call), op.Output.(answer)
		fmt.Fprintf(&b, "%9d–%9d ns, client %d, store at %s to %s: %s\n", op.Call, op.Return, op.ClientId,
			in.from.UTC().Format("05.000000"), out.to.UTC().Format("05.000000"), describeStep(in, out))
	}
	return b.String()
}

func describeStep(in call, out answer) string {
	what := "Get"
	switch op := in.op.(type) {
	case state.CreateOp:
		what = fmt.Sprintf("Create(%s)", valueOf(op.Record.Data))
	case state.UpdateOp:
		what = fmt.Sprintf("Update(version %d, epoch %d, %s)", op.Version, op.Epoch, valueOf(op.Data))
	case state.TouchOp:
		what = fmt.Sprintf("Touch(%v, epoch %d)", op.Idle, op.Epoch)
	case state.ExtendOp:
		what = fmt.Sprintf("Extend(%v, epoch %d)", op.For, op.Epoch)
	case state.SetOwnerOp:
		what = fmt.Sprintf("SetOwner(epoch %d, %s)", op.Epoch, op.Owner)
	case state.DeleteOp:
		what = fmt.Sprintf("Delete(epoch %d), ended %d", op.Epoch, len(out.res.Ended))
	}
	if out.res.Err != nil {
		return what + ": " + out.res.Err.Error()
	}
	s := out.res.Stamp
	return fmt.Sprintf("%s: version %d, revision %d, epoch %d, deadlines %s and %s, value %s", what, s.Version, s.Revision, s.Epoch,
		s.IdleDeadline.Format("05.000"), s.AbsoluteDeadline.Format("05.000"), valueOf(out.rec.Data))
}

func valueOf(d map[string]json.RawMessage) string { return string(d["v"]) }
