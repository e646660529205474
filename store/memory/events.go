package memory

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Append implements [state.EventStore].
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkAppends(key, appends); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	sh := s.shardOf(key.Ref)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.clock.now()
	e, err := sh.find(key, now)
	if err != nil {
		return err
	}
	if epoch != 0 {
		if err := e.fence(epoch); err != nil {
			return err
		}
	}
	if err := e.events.admit(appends); err != nil {
		return err
	}
	// Before what Skip frees, so that nothing is lost if there is no room.
	if err := s.room.reserve(0, e.events.need(appends)); err != nil {
		return err
	}
	if e.events == nil {
		e.events = &eventLog{streams: make(map[string]*stream)}
	}
	s.room.release(0, e.events.append(appends, now))
	return nil
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

func checkStream(name string) error {
	if len(name) > state.MaxStreamName {
		return &state.BoundError{What: "stream name", Size: len(name), Max: state.MaxStreamName}
	}
	return nil
}

// Read implements [state.EventStore]. The events are those that were there
// when Read was called, whenever they are taken.
func (s *Store) Read(ctx context.Context, key state.Key, name string, from int64) iter.Seq2[[]byte, error] {
	events, err := s.readEvents(ctx, key, name, from)
	return func(yield func([]byte, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for _, ev := range events {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(bytes.Clone(ev.data), nil) {
				return
			}
		}
	}
}

func (s *Store) readEvents(ctx context.Context, key state.Key, name string, from int64) (events []*event, err error) {
	err = s.withStream(ctx, key, name, func(st *stream) error {
		switch {
		case from < st.first:
			return state.ErrTrimmed
		case from < st.next():
			events = append(events, st.events[from-st.first:]...)
		}
		return nil
	})
	return events, err
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, name string) (first, next int64, err error) {
	err = s.withStream(ctx, key, name, func(st *stream) error {
		first, next = st.first, st.next()
		return nil
	})
	return first, next, err
}

// withStream calls fn with the stream, if there is one, and its shard locked
// for reading.
func (s *Store) withStream(ctx context.Context, key state.Key, name string, fn func(*stream) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkStream(name); err != nil {
		return err
	}
	sh := s.shardOf(key.Ref)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if s.closed.Load() {
		return state.ErrClosed
	}
	e, err := sh.find(key, s.clock.now())
	if err != nil {
		return err
	}
	if e.events == nil || e.events.streams[name] == nil {
		return nil
	}
	return fn(e.events.streams[name])
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if keep.Bytes < 0 || keep.Age < 0 {
		return &state.InvalidError{What: "event bounds", Why: "negative"}
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	sh := s.shardOf(key.Ref)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.clock.now()
	e, err := sh.find(key, now)
	if err != nil || e.events == nil {
		return err
	}
	var before time.Time
	if keep.Age > 0 {
		before = now.Add(-keep.Age)
	}
	s.room.release(0, e.events.trim(keep.Bytes, before))
	return nil
}
