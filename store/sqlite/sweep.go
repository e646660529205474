package sqlite

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sweepBatch bounds the records that one transaction of a sweep looks at, so
// that other writers need not wait for the whole.
const sweepBatch = 500

// Sweep implements [state.Store]. If it fails after it ended some records, it
// returns those with the error. ctx is heeded between batches: within one, the
// ends would be lost.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := checkSweep(opts); err != nil {
		return nil, err
	}
	var ends []state.End
	if err := s.forget(ctx, opts); err != nil {
		return nil, err
	}
	for len(ends) < opts.Limit() {
		batch, more, err := s.sweepOnce(ctx, opts, min(sweepBatch, opts.Limit()-len(ends)))
		ends = append(ends, batch...)
		if err != nil || !more {
			return ends, err
		}
	}
	return ends, nil
}

func checkSweep(opts state.SweepOptions) error {
	if err := state.CheckName("namespace", opts.Namespace); err != nil || opts.Kind == "" {
		return err
	}
	return state.CheckName("kind", opts.Kind)
}

// sweepOnce looks at no more than n records that are due, and reports whether
// there may be others.
func (s *Store) sweepOnce(ctx context.Context, opts state.SweepOptions, n int) (ends []state.End, more bool, err error) {
	err = s.writeBatch(ctx, func(t *tx) error {
		ends, more = nil, false
		due, err := t.due(opts, n)
		if err != nil {
			return err
		}
		more = len(due) == n
		for i := range due {
			end, err := t.sweep(&due[i])
			if err != nil {
				return err
			}
			if end != nil {
				ends = append(ends, *end)
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return ends, more, nil
}

// writeBatch is writeJob for what is not given up once it is asked for.
func (s *Store) writeBatch(ctx context.Context, do func(*tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.writeJob(context.WithoutCancel(ctx), do)
}

// sweep ends the record if it has expired, and otherwise puts it off.
func (t *tx) sweep(r *stored) (*state.End, error) {
	if r.Expired(t.now) {
		end := r.expiry()
		return &end, t.remove(r, changeExpired, end)
	}
	t.wrote = true
	return nil, t.query("UPDATE records SET sweep_at = expires_at WHERE id = ?").int64(r.id).exec()
}

// due returns at most n records whose time to be swept has come.
func (t *tx) due(opts state.SweepOptions, n int) ([]stored, error) {
	if opts.Kind != "" {
		return t.dueOfKind(opts.Namespace, opts.Kind, n)
	}
	var all []stored
	for kind := ""; len(all) < n; {
		found, err := t.query(`SELECT kind FROM records INDEXED BY records_by_sweep
			WHERE namespace = ? AND kind > ? ORDER BY kind LIMIT 1`).text(opts.Namespace).text(kind).
			one(func(r row) error { kind = r.text(0); return nil })
		if err != nil || !found {
			return all, err
		}
		list, err := t.dueOfKind(opts.Namespace, kind, n-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (t *tx) dueOfKind(namespace, kind string, n int) ([]stored, error) {
	var list []stored
	err := t.query(`SELECT ` + stampColumns + `, ref FROM records INDEXED BY records_by_sweep
		WHERE namespace = ? AND kind = ? AND sweep_at <= ? ORDER BY sweep_at LIMIT ?`).
		text(namespace).text(kind).time(t.now).int64(int64(n)).
		each(func(r row) (bool, error) {
			s, err := scanStampRef(r, namespace)
			list = append(list, s)
			return true, err
		})
	return list, err
}

// scanStampRef reads stampColumns and the ref.
func scanStampRef(r row, namespace string) (stored, error) {
	s := scanStamp(r, namespace)
	ref, err := state.ParseRef(r.text(12))
	if err != nil {
		return s, corrupt("ref", err)
	}
	s.Ref = ref
	return s, nil
}

// forget drops as many tombstones that are due as the sweep may end records.
func (s *Store) forget(ctx context.Context, opts state.SweepOptions) error {
	for left := opts.Limit(); left > 0; left -= sweepBatch {
		n := min(left, sweepBatch)
		var forgotten int64
		err := s.writeBatch(ctx, func(t *tx) error {
			err := t.query(`DELETE FROM ended WHERE namespace = ?1 AND ref IN (
					SELECT ref FROM ended INDEXED BY ended_by_forget
					WHERE namespace = ?1 AND forget_at <= ? LIMIT ?)`).
				text(opts.Namespace).time(t.now).int64(int64(n)).exec()
			forgotten = t.db.Changes()
			t.wrote = t.wrote || forgotten > 0
			return err
		})
		if err != nil || forgotten < int64(n) {
			return err
		}
	}
	return nil
}
