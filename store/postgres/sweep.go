package postgres

import (
	"context"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sweepBatch bounds the records that one transaction of a sweep looks at, so
// that other writers need not wait for the whole.
const sweepBatch = 500

// Sweep implements [state.Store]. It waits for no lock: a record that somebody
// is writing is left for the next sweep. If it fails after it ended some
// records, it returns those with the error.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := state.CheckQuery(state.Query{Namespace: opts.Namespace, Kind: opts.Kind}); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	inside := s.hub.writes.enter()
	defer s.hub.writes.leave(inside)
	args := &params{}
	args.text(opts.Namespace)
	args.int4(opts.Limit())
	err := s.sweepQuery(ctx, s.sql.forget, args, func(*row) error { return nil })
	if err != nil {
		return nil, unavailable("forget tombstones", err) // whether it did matters to nobody
	}
	var ends []state.End
	for len(ends) < opts.Limit() {
		n := min(sweepBatch, opts.Limit()-len(ends))
		batch, looked, err := s.sweepOnce(ctx, opts, n)
		ends = append(ends, batch...)
		if err != nil || looked < n {
			return ends, err
		}
		if ctx.Err() != nil {
			return ends, context.Cause(ctx)
		}
	}
	return ends, nil
}

// sweepOnce looks at no more than n records that are due, and returns how many
// it looked at.
func (s *Store) sweepOnce(ctx context.Context, opts state.SweepOptions, n int) (ends []state.End, looked int, err error) {
	args := &params{}
	args.text(s.channel)
	args.text(opts.Namespace)
	args.text(opts.Kind)
	args.int4(n)
	err = s.sweepQuery(ctx, s.sql.sweep, args, func(r *row) error {
		if len(ends) == 0 && looked == 0 {
			looked = int(r.int())
			return nil
		}
		r.next++
		var e state.End
		e.Key = state.Key{Namespace: opts.Namespace, Ref: r.ref()}
		e.Kind, e.User, e.Version = r.text(), r.user(), uint64(r.int())
		e.Created, e.LastAccessed, e.At = r.time(), r.time(), r.time()
		e.Reason = state.Reason(r.text())
		ends = append(ends, e)
		return r.err
	})
	if belowLevel(err) {
		return ends, looked, writeError("sweep", err) // the primary has ended them
	}
	if err != nil {
		return nil, 0, writeError("sweep", err)
	}
	return ends, looked, nil
}

// sweepQuery runs a statement under a context of its own once it is begun: of
// what was sent the answer should be had.
func (s *Store) sweepQuery(ctx context.Context, sql string, args *params, each func(*row) error) error {
	wait, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	conn, err := s.pool.Acquire(wait)
	if err != nil {
		return unsent{err}
	}
	defer conn.Release()
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(patience, cancel) })
	defer stop()
	return s.commitOn(own, conn.Conn(), sql, args, each)
}
