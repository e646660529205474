package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A stream is a row of the table streams.
type stream struct {
	id          int64 // zero: it never was
	first, next int64
}

// Append implements [state.EventStore].
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if err := checkAppend(key, appends); err != nil {
		return err
	}
	appends = detachEvents(appends)
	return s.writeOrRefuse(ctx, func(t *tx) (error, error) { return t.append(key, epoch, appends) })
}

// writeOrRefuse has do done in a transaction. do returns why it refused, and
// the error of the database.
func (s *Store) writeOrRefuse(ctx context.Context, do func(*tx) (refusal, err error)) error {
	// The writer may still write to it after the caller gave up.
	refusal := new(error)
	err := s.writeJob(ctx, func(t *tx) error {
		var err error
		*refusal, err = do(t)
		return err
	})
	if err != nil {
		return err
	}
	return *refusal
}

// detachEvents is detach for events.
func detachEvents(appends []state.EventAppend) []state.EventAppend {
	appends = slices.Clone(appends)
	for i := range appends {
		events := make([][]byte, len(appends[i].Events))
		for j, e := range appends[i].Events {
			events[j] = bytes.Clone(e)
		}
		appends[i].Events = events
	}
	return appends
}

func checkAppend(key state.Key, appends []state.EventAppend) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	for i := range appends {
		a := &appends[i]
		if err := checkStream(a.Stream); err != nil {
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

func checkStream(name string) error {
	if len(name) > state.MaxStreamName {
		return &state.BoundError{What: "stream name", Size: len(name), Max: state.MaxStreamName}
	}
	return nil
}

// append adds all or nothing. It returns why it refused, and the error of the
// database.
func (t *tx) append(key state.Key, epoch uint64, appends []state.EventAppend) (refusal, err error) {
	r, err := t.stamp(key)
	if err != nil {
		return nil, err
	}
	if r == nil || r.Expired(t.now) {
		return t.missingError(key, r)
	}
	if err := fenced(epoch, r); err != nil {
		return err, nil
	}
	// First everything is decided, then everything is written.
	streams := map[string]*stream{}
	for i := range appends {
		a := &appends[i]
		st := streams[a.Stream]
		if st == nil {
			found, err := t.stream(r.id, a.Stream)
			if err != nil {
				return nil, err
			}
			st = &found
			streams[a.Stream] = st
		}
		if a.Index != st.next && !(a.Skip && a.Index > st.next) {
			return &state.ConflictError{Want: uint64(a.Index), Have: uint64(st.next)}, nil
		}
		if a.Skip {
			st.first = a.Index
		}
		st.next = a.Index + int64(len(a.Events))
	}
	return nil, t.writeEvents(r.id, streams, appends)
}

func (t *tx) writeEvents(record int64, streams map[string]*stream, appends []state.EventAppend) error {
	t.wrote = true
	for name, st := range streams {
		if err := t.writeStream(record, name, st); err != nil {
			return fmt.Errorf("write stream: %w", err)
		}
	}
	for i := range appends {
		a := &appends[i]
		st := streams[a.Stream]
		for j, e := range a.Events {
			position := a.Index + int64(j)
			if position < st.first { // a later append of this call skips it
				continue
			}
			err := t.query("INSERT INTO events (stream, position, added_at, data) VALUES (?, ?, ?, ?)").
				int64(st.id).int64(position).time(t.now).blob(e).exec()
			if err != nil {
				return fmt.Errorf("write event: %w", err)
			}
		}
	}
	return nil
}

// writeStream stores where a stream begins and ends, and drops events from
// before its beginning.
func (t *tx) writeStream(record int64, name string, st *stream) error {
	if st.id == 0 {
		err := t.query("INSERT INTO streams (record, name, first_kept, next) VALUES (?, ?, ?, ?)").
			int64(record).blob([]byte(name)).int64(st.first).int64(st.next).exec()
		st.id = t.db.LastInsertRowID()
		return err
	}
	err := t.query("UPDATE streams SET first_kept = ?, next = ? WHERE id = ?").
		int64(st.first).int64(st.next).int64(st.id).exec()
	if err != nil {
		return err
	}
	return t.query("DELETE FROM events WHERE stream = ? AND position < ?").int64(st.id).int64(st.first).exec()
}

func (c *conn) stream(record int64, name string) (stream, error) {
	var st stream
	_, err := c.query("SELECT id, first_kept, next FROM streams WHERE record = ? AND name = ?").
		int64(record).blob([]byte(name)).
		one(func(r row) error {
			st = stream{id: r.int64(0), first: r.int64(1), next: r.int64(2)}
			return nil
		})
	return st, err
}

// removeStreams drops the events of a record.
func (t *tx) removeStreams(record int64) error {
	has, err := t.query("SELECT 1 FROM streams WHERE record = ? LIMIT 1").int64(record).
		one(func(row) error { return nil })
	if err != nil || !has {
		return err
	}
	err = t.query("DELETE FROM events WHERE stream IN (SELECT id FROM streams WHERE record = ?)").
		int64(record).exec()
	if err != nil {
		return err
	}
	return t.query("DELETE FROM streams WHERE record = ?").int64(record).exec()
}

// readStream runs f with the stream of a live record.
func (s *Store) readStream(ctx context.Context, key state.Key, name string, f func(*conn, stream) error) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if err := checkStream(name); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	err := s.readers.read(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			r, err := c.stamp(key)
			if err != nil {
				return err
			}
			if r == nil || r.Expired(s.clock.now()) {
				return c.notFound(key, r)
			}
			st, err := c.stream(r.id, name)
			if err != nil {
				return err
			}
			return f(c, st)
		})
	})
	if errors.Is(err, state.ErrNotFound) || errors.Is(err, state.ErrTrimmed) {
		return err
	}
	return s.readFailure(ctx, "read events", err)
}

// snapshot lets everything that f reads be of one moment.
func (c *conn) snapshot(f func() error) error {
	if err := c.query("BEGIN").exec(); err != nil {
		return err
	}
	err := f()
	// A read that was interrupted must still let go of its snapshot.
	defer c.interruptWith(context.Background())()
	return errors.Join(err, c.query("COMMIT").exec())
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, name string) (first, next int64, err error) {
	err = s.readStream(ctx, key, name, func(_ *conn, st stream) error {
		first, next = st.first, st.next
		return nil
	})
	return first, next, err
}

// Pages of events, as of records.
const (
	pageEvents     = 256
	pageEventBytes = 1 << 20
)

// Read implements [state.EventStore]. It reads page by page: if the stream is
// trimmed in between, the last error is [state.ErrTrimmed].
func (s *Store) Read(ctx context.Context, key state.Key, name string, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		end := int64(-1) // not known yet
		for at := from; end < 0 || at < end; {
			var page [][]byte
			err := s.readStream(ctx, key, name, func(c *conn, st stream) error {
				if end < 0 {
					end = st.next
				}
				if at < st.first {
					return state.ErrTrimmed
				}
				var err error
				page, err = c.events(st, at, end)
				return err
			})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			at += int64(len(page))
			if len(page) == 0 {
				return
			}
		}
	}
}

func (c *conn) events(st stream, at, end int64) ([][]byte, error) {
	var page [][]byte
	size := 0
	err := c.query("SELECT data FROM events WHERE stream = ? AND position >= ? AND position < ? ORDER BY position LIMIT ?").
		int64(st.id).int64(at).int64(end).int64(pageEvents).
		each(func(r row) (bool, error) {
			e := r.blob(0)
			page = append(page, e)
			size += len(e)
			return size < pageEventBytes, nil
		})
	return page, err
}
