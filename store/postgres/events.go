package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Append implements [state.EventStore].
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if err := checkAppends(key, appends); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	n := len(appends)
	streams, indexes := make([][]byte, n), make([]int64, n)
	skips, counts := make([]bool, n), make([]int32, n)
	events := [][]byte{}
	for i, a := range appends {
		streams[i], indexes[i], skips[i], counts[i] = []byte(a.Stream), a.Index, a.Skip, int32(len(a.Events))
		for _, e := range a.Events {
			if e == nil {
				e = []byte{} // nil would be NULL
			}
			events = append(events, e)
		}
	}
	args := &params{}
	args.key(key)
	args.int8(int64(epoch))
	args.byteses(streams)
	args.int8s(indexes)
	args.bools(skips)
	args.int4s(counts)
	args.byteses(events)
	return s.eventWrite(ctx, "append events", key, s.sql.append, args)
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if keep.Bytes < 0 || keep.Age < 0 {
		return &state.InvalidError{What: "event bounds", Why: "negative"}
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	age := millis(keep.Age)
	if keep.Age > 0 {
		age = max(age, 1)
	}
	args := &params{}
	args.key(key)
	args.int8(keep.Bytes)
	args.int8(age)
	return s.eventWrite(ctx, "trim events", key, s.sql.trim, args)
}

// eventWrite runs one of the functions that write events.
func (s *Store) eventWrite(ctx context.Context, doing string, key state.Key, sql string, args *params) error {
	var answer error
	for attempt := 1; ; attempt++ {
		answer = nil
		err := s.sweepQuery(ctx, sql, args, func(r *row) error {
			switch code := r.int(); code {
			case codeDone:
			case codeNotFound:
				answer = state.ErrNotFound
			case codeFenced:
				answer = &state.FencedError{Want: uint64(r.int()), Have: uint64(r.int()), Owner: r.text()}
			default:
				return fmt.Errorf("answered with code %d", code)
			}
			return r.err
		})
		switch {
		case again(err) && attempt < attempts:
			continue
		case err != nil:
			return eventError(doing, err)
		case errors.Is(answer, state.ErrNotFound):
			return s.whyMissing(ctx, key)
		}
		return answer
	}
}

// eventError turns the conflict that coatcheck_append_v1 raises into ours.
func eventError(doing string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "CC001" {
		return writeError(doing, err)
	}
	var want, have int64
	if _, err := fmt.Sscan(pg.Detail, &want, &have); err != nil {
		return state.ErrConflict
	}
	return &state.ConflictError{Want: uint64(want), Have: uint64(have)}
}

// whyMissing returns the error of Get for a record that is not there.
func (s *Store) whyMissing(ctx context.Context, key state.Key) error {
	l := &lookup{key: key}
	s.lookUp(ctx, []*lookup{l})
	if l.err == nil {
		return &state.NotFoundError{} // it was created since
	}
	return l.err
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if err := checkStream(key, stream); err != nil {
		return 0, 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	return s.tail(ctx, key, stream)
}

func (s *Store) tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	args := &params{}
	args.key(key)
	args.bytes([]byte(stream))
	live := false
	err = s.retryRead(ctx, func() error {
		live = false
		return s.query(ctx, s.sql.tail, args, func(r *row) error {
			alive := r.raw()
			live = len(alive) == 1 && alive[0] == 1
			first, next = r.int(), r.int()
			return nil
		})
	})
	switch {
	case err != nil:
		return 0, 0, unavailable("look for events", err)
	case !live:
		return 0, 0, s.whyMissing(ctx, key)
	}
	return first, next, nil
}

// Events are read so many at a time.
const readEvents = 64

// Read implements [state.EventStore]. Where the stream ended when Read was
// called is where it ends; events that are trimmed while it is read are
// [state.ErrTrimmed].
func (s *Store) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	first, next, err := s.Tail(ctx, key, stream)
	if err == nil && from < first {
		err = state.ErrTrimmed
	}
	return func(yield func([]byte, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		for at := from; at < next; {
			page, err := s.eventPage(ctx, key, stream, at, next)
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				at++
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// eventPage reads events from at on, as far as they are without a gap.
func (s *Store) eventPage(ctx context.Context, key state.Key, stream string, at, next int64) (page [][]byte, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	args := &params{}
	args.key(key)
	args.bytes([]byte(stream))
	args.int8(at)
	args.int8(next)
	args.int8(readEvents)
	bytes := 0
	err = s.retryRead(ctx, func() error {
		page, bytes = nil, 0
		return s.query(ctx, s.sql.read, args, func(r *row) error {
			position, data := r.int(), r.raw()
			if position != at+int64(len(page)) || bytes > pageBytes {
				return errEnough
			}
			page, bytes = append(page, append([]byte{}, data...)), bytes+len(data)
			return nil
		})
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, unavailable("read events", err)
	}
	if len(page) > 0 {
		return page, nil
	}
	// Nothing is there any more: trimmed, or the record ended.
	if _, _, err := s.tail(ctx, key, stream); err != nil {
		return nil, err
	}
	return nil, state.ErrTrimmed
}

func checkStream(key state.Key, name string) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if len(name) > state.MaxStreamName {
		return &state.BoundError{What: "stream name", Size: len(name), Max: state.MaxStreamName}
	}
	return nil
}

// checkAppends refuses what no store accepts.
func checkAppends(key state.Key, appends []state.EventAppend) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	for _, a := range appends {
		if err := checkStream(key, a.Stream); err != nil {
			return err
		}
		if a.Index < 0 {
			return &state.InvalidError{What: "event index", Why: "negative"}
		}
		for _, e := range a.Events {
			if len(e) > state.MaxEventBytes {
				return &state.BoundError{What: "event", Size: len(e), Max: state.MaxEventBytes}
			}
		}
	}
	return nil
}
