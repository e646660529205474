package statetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func trimChecks() []check {
	return []check{
		{"KeepsTheNewestBytes", trimBytes, 0},
		{"KeepsTheYoung", trimAge, 0},
		{"WithoutBoundsKeepsAll", trimNothing, 0},
		{"KnowsTheLastIndex", trimAll, 0},
		{"CountsAllStreams", trimStreams, 0},
		{"NeedsTheRecord", trimMissing, 0},
	}
}

func (e *env) trim(k state.Key, keep state.EventBounds) {
	e.Helper()
	if err := e.events().Trim(e.ctx, k, keep); err != nil {
		e.Fatalf("Trim: %v", err)
	}
}

// weight is what so many events, of so many bytes together, count in a Trim.
func (e *env) weight(events, bytes int) int64 { return int64(bytes + events*e.g.EventOverhead) }

func trimBytes(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "0123456789", "abcdefghij", "ABCDEFGHIJ")
	e.trim(k, state.EventBounds{Bytes: e.weight(3, 30)})
	e.tail(k, "s", 0, 3)
	e.trim(k, state.EventBounds{Bytes: e.weight(3, 29)})
	e.tail(k, "s", 1, 3)
	e.trimmed(k, "s", 0)
	e.holds(k, "s", 1, "abcdefghij", "ABCDEFGHIJ")
	e.appendTo(k, "s", 3, "next")
}

func trimAge(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "old", "older")
	e.pass(e.life())
	e.appendTo(k, "s", 2, "young")
	if e.clock != nil {
		e.trim(k, state.EventBounds{Age: e.life() + time.Second})
		e.tail(k, "s", 0, 3)
		e.trim(k, state.EventBounds{Age: e.life() - time.Second})
		e.tail(k, "s", 2, 3)
		e.trimmed(k, "s", 1)
		e.holds(k, "s", 2, "young")
		return
	}
	e.trim(k, state.EventBounds{Age: e.life()})
	first, next, err := e.events().Tail(e.ctx, k, "s")
	if err != nil || first < 2 || next != 3 { // young may have aged by now
		e.Fatalf("Tail after a Trim by age: got first %d, next %d and error %v, want at least 2 and 3", first, next, err)
	}
	e.trim(k, state.EventBounds{Age: longLife})
}

func trimNothing(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b")
	e.pass(e.life() / 2)
	e.trim(k, state.EventBounds{})
	e.holds(k, "s", 0, "a", "b")
}

func trimAll(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "aaaa", "bbbb")
	e.trim(k, state.EventBounds{Bytes: 1})
	e.tail(k, "s", 2, 2)
	e.trimmed(k, "s", 0)
	e.trimmed(k, "s", 1)
	e.holds(k, "s", 2)
	wantError(e, "Append at 0 to a stream that was trimmed", e.tryAppend(k, "s", 0, "x"), state.ErrConflict)
	e.appendTo(k, "s", 2, "c")
	e.holds(k, "s", 2, "c")
}

// trimStreams checks that the oldest are forgotten, in whichever stream.
func trimStreams(e *env) {
	k, other := e.record(), e.record()
	e.appendTo(other, "s", 0, "0123456789")
	e.appendTo(k, "one", 0, "0123456789", "0123456789")
	e.tick()
	e.appendTo(k, "two", 0, "0123456789")
	e.tick()
	e.appendTo(k, "one", 2, "0123456789")
	e.trim(k, state.EventBounds{Bytes: e.weight(2, 25)})
	e.tail(k, "one", 2, 3)
	e.tail(k, "two", 0, 1)
	e.trim(k, state.EventBounds{Bytes: e.weight(1, 15)})
	e.tail(k, "one", 2, 3)
	e.tail(k, "two", 1, 1)
	e.holds(other, "s", 0, "0123456789")
}

func trimMissing(e *env) {
	wantError(e, "Trim of a record that never was", e.events().Trim(e.ctx, e.key(), state.EventBounds{Bytes: 1}), state.ErrNotFound)
}

func eventEndChecks() []check {
	return []check{
		{"GoWithADeletedRecord", endDeleted, 0},
		{"GoWithAnEvictedRecord", endEvicted, 0},
		{"GoWithAnExpiredRecord", endExpired, 0},
		{"DoNotComeBack", endForgotten, manualClock},
	}
}

// noEvents ends the check unless nothing can be read or appended.
func (e *env) noEvents(k state.Key, stream string) {
	e.Helper()
	if got, err := e.read(k, stream, 0); len(got) != 0 || err != nil && !errors.Is(err, state.ErrNotFound) {
		e.Fatalf("Read of a record that is gone: got %d events and error %v, want none and %v", len(got), err, state.ErrNotFound)
	}
	_, next, err := e.events().Tail(e.ctx, k, stream)
	if next != 0 || err != nil && !errors.Is(err, state.ErrNotFound) {
		e.Fatalf("Tail of a record that is gone: got next %d and error %v", next, err)
	}
	for _, index := range []int64{0, 1} {
		wantError(e, "Append to a record that is gone", e.tryAppend(k, stream, index, "late"), state.ErrNotFound)
	}
}

func endDeleted(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	e.delete(k)
	e.noEvents(k, "s")
}

func endEvicted(e *env) {
	r := e.create(user("u"))
	e.appendTo(r.Key(), "s", 0, "a")
	e.must(e.createOp(user("u"), limit(state.Limit{PerUser: 1})))
	e.noEvents(r.Key(), "s")
}

func endExpired(e *env) {
	op := e.createOp(e.brief)
	e.must(op)
	err := e.tryAppend(op.Target(), "s", 0, "a")
	if err != nil && (e.clock != nil || !errors.Is(err, state.ErrNotFound)) {
		e.Fatalf("Append: %v", err)
	}
	e.expire(e.life())
	e.noEvents(op.Target(), "s")
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	e.noEvents(op.Target(), "s")
}

// endForgotten creates the ref again when its tombstone is forgotten.
func endForgotten(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b")
	e.delete(k)
	expired := e.createOp(e.brief)
	e.must(expired)
	e.appendTo(expired.Target(), "s", 0, "a")
	e.expire(e.life())
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	e.pass(state.TombstoneTTL + time.Hour)
	for _, k := range []state.Key{k, expired.Target()} {
		e.forgotten(k)
		e.create(at(k))
		e.tail(k, "s", 0, 0)
		e.holds(k, "s", 0)
		e.appendTo(k, "s", 0, "new")
		e.holds(k, "s", 0, "new")
	}
}

func eventRaceChecks() []check {
	return []check{
		{"EachIndexIsTakenOnce", raceAppend, 0},
		{"NothingIsAppendedAfterTheEnd", raceAppendDelete, 0},
		{"FencedWriterStops", raceAppendFenced, 0},
	}
}

// raceAppend lets many continue one stream: each index has one winner.
func raceAppend(e *env) {
	k := e.record()
	const writers = 6
	each := e.rounds(15)
	winners := make([]map[int64]string, writers)
	e.parallel(writers, func(w int) error {
		winners[w] = map[int64]string{}
		for n := 0; n < each; {
			_, next, err := e.events().Tail(e.ctx, k, "s")
			if err != nil {
				return fmt.Errorf("tail: %w", err)
			}
			runtime.Gosched() // so that others want the same index
			ev := fmt.Sprintf("%d/%d", w, n)
			err = e.tryAppend(k, "s", next, ev)
			if err == nil {
				winners[w][next] = ev
				n++
			}
			if err := among("append", err, state.ErrConflict); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := e.read(k, "s", 0)
	if err != nil || len(got) != writers*each {
		e.Fatalf("Read after appends by many: got %d events and error %v, want %d", len(got), err, writers*each)
	}
	for _, won := range winners {
		for index, ev := range won {
			if got[index] != ev {
				e.Fatalf("the event at index %d is %q, but the append of %q there succeeded", index, got[index], ev)
			}
		}
	}
}

func raceAppendDelete(e *env) {
	for range e.rounds(12) {
		k := e.record()
		var over atomic.Bool
		var wg sync.WaitGroup
		begun := make(chan struct{})
		var failed error
		wg.Go(func() {
			for i := int64(0); ; i++ {
				late := over.Load()
				err := e.tryAppend(k, "s", i, "x")
				if i == 2 {
					close(begun)
				}
				switch {
				case errors.Is(err, state.ErrNotFound):
					if i <= 2 {
						failed = fmt.Errorf("append to a live record: %w", err)
					}
					return
				case err != nil || late:
					failed = fmt.Errorf("append, begun after the delete: %v: got error %v, want not found", late, err)
					return
				}
			}
		})
		<-begun
		e.delete(k)
		over.Store(true)
		wg.Wait()
		if failed != nil {
			e.Fatal(failed)
		}
		e.noEvents(k, "s")
	}
}

func raceAppendFenced(e *env) {
	for range e.rounds(10) {
		k := e.record()
		e.must(state.SetOwnerOp{Key: k, Owner: "old"})
		var over atomic.Bool
		var appended atomic.Int64
		e.parallel(2, func(i int) error {
			if i == 1 {
				for appended.Load() < 3 && e.ctx.Err() == nil {
					e.pause(100 * time.Microsecond)
				}
				err := e.store.Apply(e.ctx, state.SetOwnerOp{Key: k, Epoch: 1, Owner: "new"})[0].Err
				over.Store(true)
				return err
			}
			for n := int64(0); ; n++ {
				late := over.Load()
				err := e.events().Append(e.ctx, k, 1, state.EventAppend{Stream: "s", Index: n, Events: [][]byte{event("x")}})
				if errors.Is(err, state.ErrFenced) {
					return nil
				}
				if err != nil || late {
					appended.Store(3)
					return fmt.Errorf("the old owner's append, begun after the takeover: %v: got error %v, want fenced", late, err)
				}
				appended.Add(1)
			}
		})
		e.tail(k, "s", 0, appended.Load())
	}
}

func eventContextChecks() []check {
	return []check{
		{"CancelledBeforeFailsEverything", eventsCancelled, 0},
		{"ClosedFailsEverything", eventsClosed, freshStore},
	}
}

func eventsCancelled(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	e.eventsFail(ctx, k, context.Canceled)
	e.holds(k, "s", 0, "a")
}

func eventsClosed(e *env) {
	k := e.record()
	e.close()
	e.eventsFail(e.ctx, k, state.ErrClosed)
}

func (e *env) eventsFail(ctx context.Context, k state.Key, want error) {
	e.Helper()
	es := e.events()
	wantError(e, "Append", es.Append(ctx, k, 0, state.EventAppend{Stream: "s", Index: 1, Events: [][]byte{event("x")}}), want)
	wantError(e, "Trim", es.Trim(ctx, k, state.EventBounds{Bytes: 1}), want)
	_, _, err := es.Tail(ctx, k, "s")
	wantError(e, "Tail", err, want)
	var failed error
	n := 0
	for _, failed = range es.Read(ctx, k, "s", 0) {
		n++
	}
	wantError(e, "Read", failed, want)
	if n != 1 {
		e.Fatalf("Read: yielded %d times, want the error alone", n)
	}
}
