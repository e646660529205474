package sqlite

import (
	"errors"
	"fmt"
	"math"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// apply does one operation, which was checked.
func (t *tx) apply(op state.Op) (state.Result, error) {
	switch op := op.(type) {
	case state.CreateOp:
		return t.create(&op)
	case state.ImportOp:
		return t.importRecord(&op)
	case state.UpdateOp:
		return t.update(&op)
	case state.TouchOp:
		return t.touch(&op)
	case state.ExtendOp:
		return t.extend(&op)
	case state.SetOwnerOp:
		return t.setOwner(&op)
	case state.DeleteOp:
		return t.delete(&op)
	}
	return refused(&state.InvalidError{What: "operation", Why: fmt.Sprintf("%T, which is not given by value", op)})
}

// refused is the result of an operation that writes nothing.
func refused(err error) (state.Result, error) { return state.Result{Err: err}, nil }

// missing is the result of an operation on what does not live: found is the
// expired record, or nil.
func (t *tx) missing(key state.Key, found *stored) (state.Result, error) {
	refusal, err := t.missingError(key, found)
	return state.Result{Err: refusal}, err
}

// missingError is missing for what has no Result.
func (t *tx) missingError(key state.Key, found *stored) (refusal, err error) {
	err = t.notFound(key, found)
	if errors.Is(err, state.ErrNotFound) {
		return err, nil
	}
	return nil, err
}

func fenced(want uint64, r *stored) error {
	if want == 0 || want == r.Epoch {
		return nil
	}
	return &state.FencedError{Want: want, Have: r.Epoch, Owner: r.Owner}
}

func (t *tx) touch(op *state.TouchOp) (state.Result, error) {
	r, err := t.stamp(op.Key)
	if err != nil {
		return state.Result{}, err
	}
	if r == nil || r.Expired(t.now) {
		return t.missing(op.Key, r)
	}
	if err := fenced(op.Epoch, r); err != nil {
		return refused(err)
	}
	r.Stamp = op.Apply(r.Stamp, t.now)
	r.Revision++
	err = t.query(`UPDATE records SET last_accessed_at = ?, idle_deadline = ?, revision = ? WHERE id = ?`).
		time(r.LastAccessed).time(r.IdleDeadline).uint64(r.Revision).int64(r.id).exec()
	if err != nil {
		return state.Result{}, err
	}
	t.offerPatched(r)
	return state.Result{Stamp: r.Stamp}, t.note(changeTouched, r, state.End{})
}

func (t *tx) extend(op *state.ExtendOp) (state.Result, error) {
	r, err := t.stamp(op.Key)
	if err != nil {
		return state.Result{}, err
	}
	if r == nil || r.Expired(t.now) {
		return t.missing(op.Key, r)
	}
	if err := fenced(op.Epoch, r); err != nil {
		return refused(err)
	}
	r.Stamp = op.Apply(r.Stamp, t.now)
	r.Revision++
	err = t.query(`UPDATE records SET last_accessed_at = ?, idle_deadline = ?, absolute_deadline = ?,
		sweep_at = ?, revision = ? WHERE id = ?`).
		time(r.LastAccessed).time(r.IdleDeadline).time(r.AbsoluteDeadline).
		int64(min(r.sweepAt, toMillis(r.Expires()))).uint64(r.Revision).int64(r.id).exec()
	if err != nil {
		return state.Result{}, err
	}
	t.offerPatched(r)
	return state.Result{Stamp: r.Stamp}, t.note(changeUpdated, r, state.End{})
}

func (t *tx) setOwner(op *state.SetOwnerOp) (state.Result, error) {
	r, err := t.stamp(op.Key)
	if err != nil {
		return state.Result{}, err
	}
	if r == nil || r.Expired(t.now) {
		return t.missing(op.Key, r)
	}
	if op.Epoch != r.Epoch || r.Epoch == math.MaxUint64 {
		return refused(&state.FencedError{Want: op.Epoch, Have: r.Epoch, Owner: r.Owner})
	}
	r.Owner = op.Owner
	r.Epoch++
	r.Revision++
	r.Remaining = r.Expires().Sub(state.Cut(t.now))
	err = t.query("UPDATE records SET owner = ?, epoch = ?, revision = ? WHERE id = ?").
		text(r.Owner).uint64(r.Epoch).uint64(r.Revision).int64(r.id).exec()
	if err != nil {
		return state.Result{}, err
	}
	t.offerPatched(r)
	return state.Result{Stamp: r.Stamp}, t.note(changeUpdated, r, state.End{})
}

func (t *tx) delete(op *state.DeleteOp) (state.Result, error) {
	r, err := t.stamp(op.Key)
	if err != nil {
		return state.Result{}, err
	}
	if r == nil || r.Expired(t.now) {
		return state.Result{}, nil
	}
	if err := fenced(op.Epoch, r); err != nil {
		return refused(err)
	}
	end := r.end(t.now, op.Reason, op.By)
	end.Op = op.ID
	return state.Result{Ended: []state.End{end}}, t.remove(r, changeDeleted, end)
}
