package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// eventsBytes bounds what is read of a stream at once; the last event may go
// over it.
const eventsBytes = 8 << 20

// maxIndex is the greatest index: Lua's numbers are exact up to there.
const maxIndex = 1<<53 - 1

// Append implements [state.EventStore].
func (s *Store) Append(ctx context.Context, key state.Key, epochWanted uint64, appends ...state.EventAppend) error {
	if err := checkAppends(key, appends); err != nil {
		return err
	}
	args := []string{epoch(epochWanted), strconv.Itoa(len(appends))}
	for _, a := range appends {
		args = append(args, a.Stream, strconv.FormatInt(a.Index, 10), flag(a.Skip), strconv.Itoa(len(a.Events)))
		for _, e := range a.Events {
			args = append(args, rueidis.BinaryString(e))
		}
	}
	r, err := s.onEvents(ctx, s.scripts.appendEvents, key, writeError, args)
	if err != nil {
		return err
	}
	if r.code == 'v' && len(r.body) == 16 {
		return &state.ConflictError{Want: binary.BigEndian.Uint64(r.body), Have: binary.BigEndian.Uint64(r.body[8:])}
	}
	// The epoch that was wanted is said by an operation that carries one.
	return r.failure(&step{key: key, op: state.TouchOp{Epoch: epochWanted}})
}

// checkAppends refuses what no store accepts.
func checkAppends(key state.Key, appends []state.EventAppend) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	for _, a := range appends {
		if err := checkStream(a.Stream); err != nil {
			return err
		}
		if a.Index < 0 || a.Index > maxIndex {
			return &state.InvalidError{What: "event index", Why: "not from 0 to 2^53-1"}
		}
		for _, ev := range a.Events {
			if len(ev) > state.MaxEventBytes {
				return &state.BoundError{What: "event", Size: len(ev), Max: state.MaxEventBytes}
			}
		}
	}
	return nil
}

func checkStream(name string) error {
	if len(name) > state.MaxStreamName {
		return &state.BoundError{What: "stream name", Size: len(name), Max: state.MaxStreamName}
	}
	return nil
}

// onEvents runs a script that answers with a reply.
func (s *Store) onEvents(ctx context.Context, sc *script, key state.Key, meaning func(error) error, args []string) (reply, error) {
	if err := s.enter(ctx); err != nil {
		return reply{}, err
	}
	defer s.leave()
	b, err := s.run(ctx, []*call{s.eventsCall(sc, key, args)})[0].AsBytes()
	if err != nil {
		return reply{}, meaning(err)
	}
	return s.parseReply(key.Ref.Routing(), b)
}

func (s *Store) eventsCall(sc *script, key state.Key, args []string) *call {
	tag, m := s.tag(key.Namespace, key.Ref.Routing()), member(key.Ref)
	return &call{
		script: sc,
		keys:   []string{recordKey(tag, m), eventsKey(tag, m)},
		args:   append(s.firstArgs(key), args...),
	}
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if err := checkRead(key, stream); err != nil {
		return 0, 0, err
	}
	r, err := s.onEvents(ctx, s.scripts.tailEvents, key, readError, []string{stream})
	if err != nil {
		return 0, 0, err
	}
	if err := r.failure(&step{key: key}); err != nil {
		return 0, 0, err
	}
	if len(r.body) != 16 {
		return 0, 0, corrupt(key, "stream")
	}
	return int64(binary.BigEndian.Uint64(r.body)), int64(binary.BigEndian.Uint64(r.body[8:])), nil
}

func checkRead(key state.Key, stream string) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	return checkStream(stream)
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if keep.Bytes < 0 || keep.Age < 0 {
		return &state.InvalidError{What: "event bounds", Why: "negative"}
	}
	args := []string{strconv.FormatInt(keep.Bytes, 10), millis(keep.Age)}
	r, err := s.onEvents(ctx, s.scripts.trimEvents, key, writeError, args)
	if err != nil {
		return err
	}
	return r.failure(&step{key: key})
}

// Read implements [state.EventStore]. The first 8 MiB are read when it is
// called, what is behind them when they have been taken; if that was trimmed
// meanwhile the error is [state.ErrTrimmed].
func (s *Store) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	first, err := s.readEvents(ctx, key, stream, from, -1)
	return func(yield func([]byte, error) bool) {
		page, at := first, from
		if err != nil {
			yield(nil, err)
			return
		}
		for len(page.events) > 0 {
			for _, e := range page.events {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				if !yield([]byte(e), nil) {
					return
				}
			}
			at += int64(len(page.events))
			if at >= page.behind {
				return
			}
			next, err := s.readEvents(ctx, key, stream, at, page.behind)
			if err != nil {
				yield(nil, err)
				return
			}
			page = next
		}
	}
}

// An eventPage is a run of events of a stream that ended at behind when it was
// first read.
type eventPage struct {
	events []string
	behind int64
}

func (s *Store) readEvents(ctx context.Context, key state.Key, stream string, from, behind int64) (eventPage, error) {
	if err := checkRead(key, stream); err != nil {
		return eventPage{}, err
	}
	if err := s.enter(ctx); err != nil {
		return eventPage{}, err
	}
	defer s.leave()
	args := []string{stream, strconv.FormatInt(from, 10), strconv.FormatInt(behind, 10), strconv.Itoa(eventsBytes)}
	answer := s.run(ctx, []*call{s.eventsCall(s.scripts.readEvents, key, args)})[0]
	if err := answer.Error(); err != nil {
		return eventPage{}, readError(err)
	}
	parts, err := answer.ToArray()
	if err != nil { // a script that stops early answers with its reply alone
		b, err := answer.AsBytes()
		if err != nil {
			return eventPage{}, readError(err)
		}
		return eventPage{}, s.refusedRead(key, b)
	}
	return s.readEventPage(key, parts)
}

// refusedRead returns the error of a read that has no events to answer with.
func (s *Store) refusedRead(key state.Key, b []byte) error {
	r, err := s.parseReply(key.Ref.Routing(), b)
	if err != nil {
		return err
	}
	return r.failure(&step{key: key})
}

func (s *Store) readEventPage(key state.Key, parts []rueidis.RedisMessage) (eventPage, error) {
	if len(parts) == 0 {
		return eventPage{}, corrupt(key, "events")
	}
	b, err := parts[0].AsBytes()
	if err == nil {
		err = s.refusedRead(key, b)
	}
	if err != nil {
		return eventPage{}, err
	}
	if len(parts) < 3 {
		return eventPage{}, corrupt(key, "events")
	}
	behind, err := parts[2].AsInt64()
	if err != nil {
		return eventPage{}, fmt.Errorf("read events: %w", state.ErrCorrupt)
	}
	page := eventPage{behind: behind, events: make([]string, 0, len(parts)-3)}
	for _, m := range parts[3:] {
		e, err := m.ToString()
		if err != nil {
			return eventPage{}, fmt.Errorf("read events: %w", state.ErrCorrupt)
		}
		page.events = append(page.events, e)
	}
	return page, nil
}
