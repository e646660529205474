package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A write is what one caller of Apply wants written in one transaction, and
// what came of it.
type write struct {
	ops     []*operation // checked and encoded
	results []state.Result
}

// Apply implements [state.Store]. What concurrent callers want is written in
// one transaction and one round trip; each gets its own results.
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	if err := s.enter(ctx); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer s.leave()
	inside := s.hub.writes.enter()
	defer s.hub.writes.leave(inside)
	encoded := make([]*operation, 0, len(ops))
	at := make([]int, 0, len(ops)) // where the result of each belongs
	limited, plain := false, true
	for i, op := range ops {
		o, err := s.encode(op)
		if err != nil {
			results[i].Err = err
			continue
		}
		encoded, at = append(encoded, o), append(at, i)
		limited, plain = limited || o.locks != nil, plain && o.plain()
	}
	l := &s.writes
	switch {
	case limited:
		l = &s.limited
	case plain:
		l = &s.updates
	}
	for len(encoded) > 0 {
		n, weight := chunk(encoded)
		w := &write{ops: encoded[:n]}
		for i, r := range s.submit(ctx, l, w, weight) {
			results[at[i]] = r
		}
		encoded, at = encoded[n:], at[n:]
	}
	return results
}

// chunk returns how many of the operations go into one transaction at most, and
// what they weigh.
func chunk(ops []*operation) (n, weight int) {
	for _, o := range ops {
		w := 1 + (o.data.size()+o.opaque.size()+len(o.sealed))/weightBytes
		if n > 0 && weight+w > maxWrites {
			break
		}
		n, weight = n+1, weight+w
	}
	return n, weight
}

// submit has the operations done and returns their results.
func (s *Store) submit(ctx context.Context, l *lane[*write], w *write, weight int) []state.Result {
	n := len(w.ops)
	w.results = make([]state.Result, n)
	err := l.do(ctx, w, weight)
	if err == nil {
		return w.results
	}
	// The group goes on and has w.results.
	if errors.Is(err, errWithdrawn) {
		err = late(ctx, "write")
	} else {
		err = fmt.Errorf("write: %w: %w", state.ErrUnknownOutcome, context.Cause(ctx))
	}
	return slices.Repeat([]state.Result{{Err: err}}, n)
}

// commit does a group of writes.
func (s *Store) commit(ctx context.Context, group []*write) { s.commitAll(ctx, gather(group)) }

// gather returns the operations of a group in the order of their keys, in which
// everybody locks rows; those on the same key stay in theirs.
func gather(group []*write) []*operation {
	var all []*operation
	for _, w := range group {
		for i, o := range w.ops {
			o.result = &w.results[i]
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, compareKeys)
	return all
}

// commitAll does sorted operations and sees to it that each has its result.
func (s *Store) commitAll(ctx context.Context, all []*operation) {
	err := s.commitSorted(ctx, all)
	if err == nil || !alone(err) || len(all) == 1 {
		fail(all, err)
		return
	}
	// One of them was refused by the server, and took the others along.
	for i := range all {
		fail(all[i:i+1], s.commitSorted(ctx, all[i:i+1]))
	}
}

func fail(ops []*operation, err error) {
	if err == nil {
		return
	}
	err = writeError("write", err)
	for _, o := range ops {
		*o.result = state.Result{Err: err}
	}
}

// attempts bounds how often a transaction is tried that others keep undoing.
const attempts = 8

// commitSorted does operations in one transaction.
func (s *Store) commitSorted(ctx context.Context, ops []*operation) error {
	args := s.params.get()
	defer s.params.put(args)
	s.arguments(args, ops)
	err := s.write(ctx, ops, s.sql.apply, args, func(r *row) error { return readResult(r, ops) })
	if err != nil {
		return err
	}
	return finish(ops)
}

// write runs a statement that does operations, and again if the server undid it
// because of somebody else.
func (s *Store) write(ctx context.Context, ops []*operation, sql string, args *params, each func(*row) error) error {
	for attempt := 1; ; attempt++ {
		for _, o := range ops {
			*o.result, o.answered = state.Result{}, false
		}
		err := s.commitQuery(ctx, sql, args, each)
		switch {
		case err == nil:
			return nil
		case belowLevel(err):
			return err
		case again(err) && attempt < attempts:
			pause(ctx, time.Duration(rand.Int64N(int64(attempt)*int64(10*time.Millisecond))))
		case unsentBroken(err) && attempt < 3 && ctx.Err() == nil:
			s.dropIdle()
		default:
			if broken(err) || readOnly(err) {
				s.dropIdle()
			}
			return err
		}
	}
}

// commitQuery runs a statement that writes, on a connection of the pool.
func (s *Store) commitQuery(ctx context.Context, sql string, args *params, each func(*row) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unsent{err}
	}
	defer conn.Release()
	return s.commitOn(ctx, conn.Conn(), sql, args, each)
}

// unsentBroken reports whether a connection of the pool turned out to be
// broken before anything was sent.
func unsentBroken(err error) bool { return broken(err) && !lost(err) }

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// alone reports whether an error of the server may be the fault of one
// operation, and not of the database.
func alone(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && refusesValue(pg)
}
