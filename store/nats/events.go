package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Bounds of how events are stored.
const (
	pieceBytes = 512 << 10 // well below what a server takes
	maxPieces  = 900       // of one Append; a batch has at most a thousand
)

// A ledger says which events a record has, in the order in which they came. It
// is written anew with each Append and Trim, in one step with the pieces.
type ledger struct {
	Next    int64            `json:"n"` // number of the next piece
	Streams map[string]int64 `json:"s"` // next index of each stream, by its name in hex
	Runs    []run            `json:"r"`
}

// A run is what one Append added to one stream: events in one row of bytes,
// which is cut into pieces.
type run struct {
	Stream string `json:"s"`
	First  int64  `json:"f"` // index of its first event
	Sizes  []int  `json:"z"`
	Drop   int    `json:"d,omitempty"` // so many of them are trimmed
	At     int64  `json:"t"`           // Unix milliseconds
	Piece  int64  `json:"p"`           // number of its first piece
}

func (r *run) bytes() (n int) {
	for _, z := range r.Sizes {
		n += z
	}
	return n
}

func (r *run) pieces() int64 { return int64((r.bytes() + pieceBytes - 1) / pieceBytes) }

// first returns the first index kept of a stream.
func (l *ledger) first(stream string) int64 {
	for i := range l.Runs {
		if r := &l.Runs[i]; r.Stream == stream && r.Drop < len(r.Sizes) {
			return r.First + int64(r.Drop)
		}
	}
	return l.Streams[stream]
}

func (s *Store) ledgerSubject(key state.Key) string {
	return strings.Replace(s.recordSubject(key), ".r.", ".e.", 1)
}

func (s *Store) pieceSubject(key state.Key, n int64) string {
	return fmt.Sprintf("%s.%d", strings.Replace(s.recordSubject(key), ".r.", ".p.", 1), n)
}

// streamKey is a stream's name as it is stored: any bytes.
func streamKey(name string) string { return fmt.Sprintf("%x", name) }

func checkStream(name string) error {
	if len(name) > state.MaxStreamName {
		return &state.BoundError{What: "stream name", Size: len(name), Max: state.MaxStreamName}
	}
	return nil
}

func checkAppends(key state.Key, appends []state.EventAppend) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	for _, a := range appends {
		if err := checkStream(a.Stream); err != nil {
			return err
		}
		if a.Index < 0 {
			return &state.InvalidError{What: "event index", Why: "negative"}
		}
		for _, ev := range a.Events {
			if len(ev) > state.MaxEventBytes {
				return &state.BoundError{What: "event", Size: len(ev), Max: state.MaxEventBytes}
			}
		}
	}
	return nil
}

// loadEvents reads the ledger of a live record. The record is read last: it was
// there when the ledger was read.
func (s *Store) loadEvents(ctx context.Context, key state.Key) (*ledger, uint64, slot, error) {
	m, err := s.get(ctx, s.streamOf(key.Ref.Routing()), s.ledgerSubject(key))
	if err != nil {
		return nil, 0, slot{}, err
	}
	sl, err := s.load(ctx, key)
	if err != nil {
		return nil, 0, slot{}, err
	}
	if !sl.live(s.clock.now()) {
		return nil, 0, slot{}, sl.missing(key)
	}
	l := &ledger{Streams: map[string]int64{}}
	if m.seq != 0 {
		if err := json.Unmarshal(m.data, l); err != nil {
			return nil, 0, slot{}, fmt.Errorf("read the events of %s: %w", key, state.ErrCorrupt)
		}
	}
	return l, m.seq, sl, nil
}

// turn waits for the turn of a routing byte, and gives a deadline.
func (s *Store) turn(ctx context.Context, key state.Key, fn func(ctx context.Context) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	turn := s.turns[key.Ref.Routing()]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return unavailable("write to", ctx.Err())
	}
	return s.retry(ctx, fn)
}

// Append implements [state.EventStore]. The first of a record marks it as one
// with events; the others are written if the record is still the same.
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkAppends(key, appends); err != nil {
		return err
	}
	return s.turn(ctx, key, func(ctx context.Context) error { return s.append(ctx, key, epoch, appends) })
}

func (s *Store) append(ctx context.Context, key state.Key, epoch uint64, appends []state.EventAppend) error {
	l, seq, sl, err := s.loadEvents(ctx, key)
	if err != nil {
		return err
	}
	if err := fence(sl.rec, epoch); err != nil {
		return err
	}
	now := s.clock.now()
	var puts []put
	var drops []run
	for _, a := range appends {
		stream := streamKey(a.Stream)
		want := l.Streams[stream]
		if a.Index < want || a.Index > want && !a.Skip {
			return &state.ConflictError{Want: uint64(a.Index), Have: uint64(want)}
		}
		if a.Skip {
			drops = append(drops, l.drop(func(r *run) bool { return r.Stream == stream })...)
		}
		l.Streams[stream] = a.Index + int64(len(a.Events))
		puts = append(puts, s.add(l, key, a, now)...)
	}
	if len(puts) > maxPieces {
		return &state.BoundError{What: "events", Size: len(puts) * pieceBytes, Max: maxPieces * pieceBytes}
	}
	if err := s.writeLedger(ctx, key, l, seq, &sl, puts, now); err != nil {
		return err
	}
	s.removePieces(key, drops)
	return nil
}

// add notes a run and returns its pieces.
func (s *Store) add(l *ledger, key state.Key, a state.EventAppend, now time.Time) (puts []put) {
	if len(a.Events) == 0 {
		return nil
	}
	r := run{Stream: streamKey(a.Stream), First: a.Index, At: now.UnixMilli(), Piece: l.Next}
	for _, ev := range a.Events {
		r.Sizes = append(r.Sizes, len(ev))
	}
	row := bytes.Join(a.Events, nil)
	for len(row) > 0 {
		n := min(len(row), pieceBytes)
		puts = append(puts, put{subject: s.pieceSubject(key, l.Next), data: row[:n]})
		row = row[n:]
		l.Next++
	}
	l.Runs = append(l.Runs, r)
	return puts
}

// drop takes runs out and returns them.
func (l *ledger) drop(which func(*run) bool) (drops []run) {
	var kept []run
	for _, r := range l.Runs {
		if which(&r) {
			drops = append(drops, r)
		} else {
			kept = append(kept, r)
		}
	}
	l.Runs = kept
	return drops
}

// writeLedger writes the ledger and new pieces, if the record is still the
// same.
func (s *Store) writeLedger(ctx context.Context, key state.Key, l *ledger, seq uint64, sl *slot, puts []put, now time.Time) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if len(b) > pieceBytes {
		return &state.BoundError{What: "number of events", Size: len(b), Max: pieceBytes}
	}
	puts = append(puts, put{subject: s.ledgerSubject(key), seq: seq, data: b})
	if sl.events {
		// Two conditions and so two messages: that of the record is on one that
		// says nothing.
		guard := put{subject: s.pieceSubject(key, -1), guard: s.recordSubject(key), seq: sl.seq}
		puts = append([]put{guard}, puts...)
	} else {
		sl.rec.Revision++
		p, err := s.putRecord(sl.rec, sl.seq, true, now, 0)
		if err != nil {
			return err
		}
		puts = append(puts, p)
	}
	return s.write(ctx, s.streamOf(key.Ref.Routing()), puts...)
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := state.CheckKey(key); err != nil {
		return err
	}
	return s.turn(ctx, key, func(ctx context.Context) error {
		l, seq, sl, err := s.loadEvents(ctx, key)
		if err != nil {
			return err
		}
		now := s.clock.now()
		if !l.trim(keep, now) {
			return nil
		}
		drops := l.drop(func(r *run) bool { return r.Drop == len(r.Sizes) })
		if err := s.writeLedger(ctx, key, l, seq, &sl, nil, now); err != nil {
			return err
		}
		s.removePieces(key, drops)
		return nil
	})
}

// trim marks events as dropped, the oldest first, and reports whether there
// were any.
func (l *ledger) trim(keep state.EventBounds, now time.Time) (changed bool) {
	total := int64(0)
	for i := range l.Runs {
		for _, z := range l.Runs[i].Sizes[l.Runs[i].Drop:] {
			total += int64(z)
		}
	}
	before := now.Add(-keep.Age).UnixMilli()
	for i := range l.Runs {
		r := &l.Runs[i]
		for r.Drop < len(r.Sizes) && (keep.Bytes > 0 && total > keep.Bytes || keep.Age > 0 && r.At < before) {
			total -= int64(r.Sizes[r.Drop])
			r.Drop++
			changed = true
		}
	}
	return changed
}

// removePieces removes what no ledger names any more. What is left over when it
// fails goes with the record.
func (s *Store) removePieces(key state.Key, drops []run) {
	for _, r := range drops {
		for n := range r.pieces() {
			if err := s.purge(s.ctx, key, s.pieceSubject(key, r.Piece+n)); err != nil {
				s.opts.Logger.Warn("nats store: pieces of events stay until their record goes", "error", err)
				return
			}
		}
	}
}

// purge removes what stands under a subject.
func (s *Store) purge(ctx context.Context, key state.Key, filter string) error {
	stream := s.streamOf(key.Ref.Routing())
	answer, err := ask[doneAnswer](ctx, s, "STREAM.PURGE."+s.called(stream), map[string]any{"filter": filter})
	if err == nil && !answer.Success {
		err = fmt.Errorf("remove events from nats: %w", state.ErrUnavailable)
	}
	if err == nil {
		s.purgeMirrors(stream, filter, 0)
	}
	return err
}

// removeEvents removes all that a record had.
func (s *Store) removeEvents(ctx context.Context, key state.Key) error {
	return errors.Join(
		s.purge(ctx, key, s.ledgerSubject(key)),
		s.purge(ctx, key, strings.Replace(s.recordSubject(key), ".r.", ".p.", 1)+".>"),
	)
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if err := errors.Join(state.CheckKey(key), checkStream(stream)); err != nil {
		return 0, 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	l, _, _, err := s.loadEvents(ctx, key)
	if err != nil {
		return 0, 0, err
	}
	return l.first(streamKey(stream)), l.Streams[streamKey(stream)], nil
}

// Read implements [state.EventStore]. Which events there are is settled when it
// is called; what is trimmed before it is taken is [state.ErrTrimmed].
func (s *Store) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	runs, err := s.runsFrom(ctx, key, stream, from)
	return func(yield func([]byte, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for _, r := range runs {
			events, err := s.readRun(ctx, key, r)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, ev := range events {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				if r.First+int64(i) >= from && !yield(ev, nil) {
					return
				}
			}
		}
	}
}

// runsFrom returns the runs of a stream that have events from an index on.
func (s *Store) runsFrom(ctx context.Context, key state.Key, stream string, from int64) (runs []run, err error) {
	if err := errors.Join(state.CheckKey(key), checkStream(stream)); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l, _, _, err := s.loadEvents(ctx, key)
	if err != nil {
		return nil, err
	}
	if from < l.first(streamKey(stream)) {
		return nil, state.ErrTrimmed
	}
	for _, r := range l.Runs {
		if r.Stream == streamKey(stream) && r.First+int64(len(r.Sizes)) > from {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

// readRun reads the events of a run.
func (s *Store) readRun(ctx context.Context, key state.Key, r run) ([][]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	row := make([]byte, 0, r.bytes())
	for n := range r.pieces() {
		m, err := s.get(ctx, s.streamOf(key.Ref.Routing()), s.pieceSubject(key, r.Piece+n))
		if err != nil {
			return nil, err
		}
		if m.seq == 0 {
			return nil, state.ErrTrimmed
		}
		row = append(row, m.data...)
	}
	if len(row) != r.bytes() {
		return nil, fmt.Errorf("read the events of %s: %w", key, state.ErrCorrupt)
	}
	events := make([][]byte, len(r.Sizes))
	for i, z := range r.Sizes {
		events[i], row = row[:z:z], row[z:]
	}
	return events, nil
}
