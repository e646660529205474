package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// RunEvents checks the contract of [state.EventStore]. What the harness opens
// must be one.
func RunEvents(t *testing.T, h Harness) {
	t.Helper()
	runGroups(t, h, eventGroups())
}

func eventGroups() []group {
	return []group{
		{"Append", appendChecks()},
		{"Skip", skipChecks()},
		{"Read", readChecks()},
		{"Trim", trimChecks()},
		{"End", eventEndChecks()},
		{"EventRace", eventRaceChecks()},
		{"EventContext", eventContextChecks()},
	}
}

func appendChecks() []check {
	return []check{
		{"IsReadBack", appendReadBack, 0},
		{"KeepsBytes", appendBytes, 0},
		{"ContinuesOnlyAtTheNextIndex", appendIndex, 0},
		{"IsOneStep", appendOneStep, 0},
		{"SeparatesStreams", appendStreams, 0},
		{"SeparatesRecords", appendRecords, 0},
		{"NeedsTheRecord", appendNeedsRecord, 0},
		{"RefusesStaleEpoch", appendFenced, 0},
		{"ChangesNoData", appendKeepsRecord, 0},
		{"KeepsNothingItWasGiven", appendCopies, 0},
		{"RefusesInvalid", appendInvalid, 0},
		{"TakesTheLargestEvent", appendLargest, 0},
	}
}

// events returns the store as an EventStore.
func (e *env) events() state.EventStore {
	e.Helper()
	s, ok := e.store.(state.EventStore)
	if !ok {
		e.Fatalf("the store, a %T, is no state.EventStore", e.store)
	}
	return s
}

// record creates a record and returns its key.
func (e *env) record() state.Key {
	e.Helper()
	r := e.create(lean)
	return r.Key()
}

func event(s string) []byte { return []byte(s) }

// appendTo appends events at the stream's next index.
func (e *env) appendTo(k state.Key, stream string, index int64, events ...string) {
	e.Helper()
	if err := e.tryAppend(k, stream, index, events...); err != nil {
		e.Fatalf("Append of %d events at %d: %v", len(events), index, err)
	}
}

func (e *env) tryAppend(k state.Key, stream string, index int64, events ...string) error {
	e.Helper()
	a := state.EventAppend{Stream: stream, Index: index}
	for _, s := range events {
		a.Events = append(a.Events, event(s))
	}
	return e.events().Append(e.ctx, k, 0, a)
}

// read returns the events from an index on, and the error that was yielded.
func (e *env) read(k state.Key, stream string, from int64) (got []string, err error) {
	e.Helper()
	for ev, failed := range e.events().Read(e.ctx, k, stream, from) {
		switch {
		case err != nil:
			e.Fatalf("Read: went on after it yielded the error %v", err)
		case failed != nil:
			err = failed
		default:
			got = append(got, string(ev))
		}
	}
	return got, err
}

// holds ends the check unless the stream from an index on is as wanted.
func (e *env) holds(k state.Key, stream string, from int64, want ...string) {
	e.Helper()
	got, err := e.read(k, stream, from)
	if err != nil {
		e.Fatalf("Read from %d: got error %v, want %d events", from, err, len(want))
	}
	if strings.Join(got, "\x00") != strings.Join(want, "\x00") || len(got) != len(want) {
		e.Fatalf("Read from %d: got %s, want %s", from, short(fmt.Sprintf("%q", got)), short(fmt.Sprintf("%q", want)))
	}
}

// trimmed ends the check unless a Read from the index yields ErrTrimmed alone.
func (e *env) trimmed(k state.Key, stream string, from int64) {
	e.Helper()
	got, err := e.read(k, stream, from)
	if !errors.Is(err, state.ErrTrimmed) || len(got) != 0 {
		e.Fatalf("Read from %d, which is no longer kept: got %d events and error %v, want %v alone", from, len(got), err, state.ErrTrimmed)
	}
}

func (e *env) tail(k state.Key, stream string, first, next int64) {
	e.Helper()
	f, n, err := e.events().Tail(e.ctx, k, stream)
	if err != nil || f != first || n != next {
		e.Fatalf("Tail: got first %d, next %d and error %v, want %d and %d", f, n, err, first, next)
	}
}

func appendReadBack(e *env) {
	k := e.record()
	e.tail(k, "s", 0, 0)
	e.holds(k, "s", 0)
	e.appendTo(k, "s", 0, "a", "b")
	e.appendTo(k, "s", 2, "c")
	e.tail(k, "s", 0, 3)
	e.holds(k, "s", 0, "a", "b", "c")
	e.holds(k, "s", 2, "c")
}

func appendBytes(e *env) {
	k := e.record()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	want := []string{"", "\x00", string(every), "data: {\"a\":1}\n\n", "\xff\xfe", strings.Repeat("x", 1<<20), ""}
	e.appendTo(k, "s", 0, want...)
	e.holds(k, "s", 0, want...)
}

func appendIndex(e *env) {
	k := e.record()
	wantError(e, "Append at 1 to an empty stream", e.tryAppend(k, "s", 1, "x"), state.ErrConflict)
	e.tail(k, "s", 0, 0)
	e.appendTo(k, "s", 0, "a", "b")
	for _, index := range []int64{0, 1, 3, 1 << 40} {
		wantError(e, fmt.Sprintf("Append at %d to a stream whose next is 2", index), e.tryAppend(k, "s", index, "x"), state.ErrConflict)
	}
	e.holds(k, "s", 0, "a", "b")
	e.appendTo(k, "s", 2, "c")
	wantError(e, "Append of nothing at a wrong index", e.tryAppend(k, "s", 2), state.ErrConflict)
}

func appendOneStep(e *env) {
	k := e.record()
	good := state.EventAppend{Stream: "one", Events: [][]byte{event("a")}}
	bad := state.EventAppend{Stream: "two", Index: 7, Events: [][]byte{event("b")}}
	for _, appends := range [][]state.EventAppend{{good, bad}, {bad, good}} {
		wantError(e, "Append of which a part conflicts", e.events().Append(e.ctx, k, 0, appends...), state.ErrConflict)
		e.tail(k, "one", 0, 0)
		e.tail(k, "two", 0, 0)
	}
	bad.Index = 0
	if err := e.events().Append(e.ctx, k, 0, good, bad); err != nil {
		e.Fatalf("Append to two streams: %v", err)
	}
	e.holds(k, "one", 0, "a")
	e.holds(k, "two", 0, "b")
}

func appendStreams(e *env) {
	k := e.record()
	names := []string{"", "0", "a", "A", "a ", "a.b", "a/b", "a%", "a_", "_", strings.Repeat("s", state.MaxStreamName)}
	for _, s := range hostileStrings() {
		if len(s) <= state.MaxStreamName {
			names = append(names, "x"+s)
		}
	}
	for i, name := range names {
		e.appendTo(k, name, 0, fmt.Sprint(i), "second")
	}
	for i, name := range names {
		e.holds(k, name, 0, fmt.Sprint(i), "second")
		e.tail(k, name, 0, 2)
	}
}

func appendRecords(e *env) {
	one, two := e.record(), e.record()
	elsewhere := state.Key{Namespace: newNamespace(), Ref: one.Ref}
	e.create(at(elsewhere))
	for i, k := range []state.Key{one, two, elsewhere} {
		e.appendTo(k, "s", 0, fmt.Sprint(i))
	}
	for i, k := range []state.Key{one, two, elsewhere} {
		e.holds(k, "s", 0, fmt.Sprint(i))
	}
}

func appendNeedsRecord(e *env) {
	deleted := e.create()
	e.delete(deleted.Key())
	expired := e.createEnded(e.brief)
	for what, k := range map[string]state.Key{"never was": e.key(), "was deleted": deleted.Key(), "expired": expired.Target()} {
		wantError(e, "Append to a record that "+what, e.tryAppend(k, "s", 0, "x"), state.ErrNotFound)
		wantError(e, "Append at a wrong index to a record that "+what, e.tryAppend(k, "s", 9, "x"), state.ErrNotFound)
	}
}

func appendFenced(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	e.must(state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "two"})
	a := state.EventAppend{Stream: "s", Events: [][]byte{event("x")}}
	for _, epoch := range []uint64{1, 3} {
		err := e.events().Append(e.ctx, r.Key(), epoch, a)
		wantError(e, "Append with a stale epoch", err, state.ErrFenced)
		e.isFenced(err, epoch, 2, "two")
	}
	e.tail(r.Key(), "s", 0, 0)
	wrong := a
	wrong.Index = 5
	wantError(e, "Append with a stale epoch at a wrong index", e.events().Append(e.ctx, r.Key(), 1, wrong), state.ErrFenced)
	for i, epoch := range []uint64{2, 0} {
		a.Index = int64(i)
		if err := e.events().Append(e.ctx, r.Key(), epoch, a); err != nil {
			e.Fatalf("Append with epoch %d to a record of epoch 2: %v", epoch, err)
		}
	}
}

func appendKeepsRecord(e *env) {
	r := e.create()
	e.appendTo(r.Key(), "s", 0, "a")
	got := e.live(r.Key())
	got.Revision = r.Revision
	if d := diff(got, r); d != "" {
		e.Fatalf("Append changed the record: %s", d)
	}
	e.update(r, `1`)
	e.holds(r.Key(), "s", 0, "a")
}

func appendCopies(e *env) {
	k := e.record()
	ev := event("mine")
	appends := []state.EventAppend{{Stream: "s", Events: [][]byte{ev}}}
	if err := e.events().Append(e.ctx, k, 0, appends...); err != nil {
		e.Fatal(err)
	}
	copy(ev, "XXXX")
	appends[0].Events[0] = nil
	e.holds(k, "s", 0, "mine")
	for got := range e.events().Read(e.ctx, k, "s", 0) {
		if len(got) > 0 && !bytes.Equal(got, event("mine")) {
			e.Fatalf("Read: got %q", got)
		}
	}
}

func appendInvalid(e *env) {
	k := e.record()
	long := strings.Repeat("s", state.MaxStreamName+1)
	wantError(e, "Append to a stream of 129 bytes", e.tryAppend(k, long, 0, "x"), state.ErrTooLarge)
	wantError(e, "Append at index -1", e.tryAppend(k, "s", -1, "x"), state.ErrInvalid)
	wantError(e, "Append to no record", e.tryAppend(state.Key{Namespace: e.ns}, "s", 0, "x"), state.ErrInvalid)
	_, err := e.read(k, long, 0)
	wantError(e, "Read of a stream of 129 bytes", err, state.ErrTooLarge)
}

func appendLargest(e *env) {
	k := e.record()
	largest := strings.Repeat("e", state.MaxEventBytes-e.g.EventOverhead)
	wantError(e, "Append of too large an event", e.tryAppend(k, "s", 0, "small", largest+"e"), state.ErrTooLarge)
	e.tail(k, "s", 0, 0)
	e.appendTo(k, "s", 0, largest)
	e.holds(k, "s", 0, largest)
}

func skipChecks() []check {
	return []check{
		{"StartsAnew", skipAnew, 0},
		{"NeedNotSkip", skipNothing, 0},
		{"NeverGoesBack", skipBack, 0},
		{"WithoutEventsMovesTheEnd", skipEmpty, 0},
		{"LeavesOtherStreams", skipOthers, 0},
	}
}

// skip appends with Skip.
func (e *env) skip(k state.Key, stream string, index int64, events ...string) error {
	a := state.EventAppend{Stream: stream, Index: index, Skip: true}
	for _, s := range events {
		a.Events = append(a.Events, event(s))
	}
	return e.events().Append(e.ctx, k, 0, a)
}

func (e *env) mustSkip(k state.Key, stream string, index int64, events ...string) {
	e.Helper()
	if err := e.skip(k, stream, index, events...); err != nil {
		e.Fatalf("Append with Skip at %d: %v", index, err)
	}
}

func skipAnew(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b")
	e.mustSkip(k, "s", 5, "f", "g")
	e.tail(k, "s", 5, 7)
	e.holds(k, "s", 5, "f", "g")
	for _, from := range []int64{0, 1, 2, 4} {
		e.trimmed(k, "s", from)
	}
	e.appendTo(k, "s", 7, "h")
	e.holds(k, "s", 6, "g", "h")
	e.mustSkip(k, "fresh", 3, "d")
	e.tail(k, "fresh", 3, 4)
	e.trimmed(k, "fresh", 0)
}

func skipNothing(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	e.mustSkip(k, "s", 1, "b")
	_, next, err := e.events().Tail(e.ctx, k, "s")
	if err != nil || next != 2 {
		e.Fatalf("Append with Skip at the next index: got next %d and error %v, want 2", next, err)
	}
	e.holds(k, "s", 1, "b")
}

func skipBack(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b", "c")
	wantError(e, "Append with Skip before the next index", e.skip(k, "s", 1, "x"), state.ErrConflict)
	e.holds(k, "s", 0, "a", "b", "c")
}

func skipEmpty(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	e.mustSkip(k, "s", 4)
	e.tail(k, "s", 4, 4)
	e.trimmed(k, "s", 0)
	e.holds(k, "s", 4)
	e.appendTo(k, "s", 4, "e")
	e.holds(k, "s", 4, "e")
}

func skipOthers(e *env) {
	k := e.record()
	e.appendTo(k, "one", 0, "a")
	e.appendTo(k, "two", 0, "b")
	e.mustSkip(k, "one", 9, "j")
	e.holds(k, "two", 0, "b")
}

func readChecks() []check {
	return []check{
		{"StartsAtTheIndex", readFrom, 0},
		{"BehindTheEndYieldsNothing", readBehind, 0},
		{"YieldsWhatWasThere", readSnapshot, 0},
		{"CanBeLeftEarly", readBreak, 0},
		{"YieldsLongStreamsInOrder", readLong, 0},
		{"SeesWhatAnotherHandleAppended", readReopened, secondOpen},
	}
}

func readFrom(e *env) {
	k := e.record()
	want := []string{"a", "b", "c", "d"}
	e.appendTo(k, "s", 0, want...)
	for i := range want {
		e.holds(k, "s", int64(i), want[i:]...)
	}
}

func readBehind(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	for _, from := range []int64{1, 2, 1 << 40} {
		e.holds(k, "s", from)
	}
	e.holds(k, "never", 0)
	e.holds(k, "never", 7)
}

func readSnapshot(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b", "c")
	n := 0
	for _, err := range e.events().Read(e.ctx, k, "s", 0) {
		if err != nil {
			e.Fatalf("Read while its caller appends: %v", err)
		}
		e.appendTo(k, "s", int64(3+n), "later")
		if n++; n > 3 {
			e.Fatal("Read yields what was appended after it was called")
		}
	}
	if n != 3 {
		e.Fatalf("Read while its caller appends: got %d events, want the 3 that were there", n)
	}
}

func readBreak(e *env) {
	k := e.record()
	e.appendTo(k, "s", 0, "a", "b", "c")
	for range 50 {
		for range e.events().Read(e.ctx, k, "s", 0) {
			break
		}
	}
	e.appendTo(k, "s", 3, "d")
}

func readLong(e *env) {
	k := e.record()
	var want []string
	for i := 0; i < 1200; i += 100 {
		var some []string
		for j := range 100 {
			some = append(some, fmt.Sprintf("event %d", i+j))
		}
		e.appendTo(k, "s", int64(i), some...)
		want = append(want, some...)
	}
	e.holds(k, "s", 0, want...)
	e.holds(k, "s", 555, want[555:]...)
}

func readReopened(e *env) {
	o := e.other()
	k := e.record()
	e.appendTo(k, "s", 0, "a")
	o.appendTo(k, "s", 1, "b")
	wantError(e, "Append at an index that the other handle took", e.tryAppend(k, "s", 1, "x"), state.ErrConflict)
	e.holds(k, "s", 0, "a", "b")
	o.holds(k, "s", 0, "a", "b")
}
