package sqlite

import "github.com/coatcheck-mcp/coatcheck/state"

func (t *tx) update(op *state.UpdateOp) (state.Result, error) {
	// Data that is replaced need not be read.
	read := t.record
	if op.Data != nil {
		read = t.head
	}
	r, err := read(op.Key)
	if err != nil {
		return state.Result{}, err
	}
	if r == nil || r.Expired(t.now) {
		return t.missing(op.Key, r)
	}
	if err := fenced(op.Epoch, r); err != nil {
		return refused(err)
	}
	if op.Version != r.Version {
		return refused(&state.ConflictError{Want: op.Version, Have: r.Version})
	}
	t.replace(r, op)
	if err := state.CheckSize(&r.Record); err != nil {
		return refused(err)
	}
	if err := t.writeContent(r, op); err != nil {
		return state.Result{}, err
	}
	t.offer(r.Record)
	return state.Result{Stamp: r.Stamp}, t.note(changeUpdated, r, state.End{})
}

// replace makes of r what the update would store.
func (t *tx) replace(r *stored, op *state.UpdateOp) {
	if op.Meta != nil {
		r.Meta = *op.Meta
	}
	if op.Data != nil {
		r.Data, r.Sealed = op.Data, op.Sealed
	}
	if op.Rotate != nil {
		r.Secret = op.Rotate.Apply(r.Secret, t.now)
	}
	r.Version++
	r.Revision++
	r.LastOp = op.ID
	r.Remaining = r.Expires().Sub(state.Cut(t.now))
}

const (
	updateData = `UPDATE records SET version = ?, revision = ?, last_op = ?,
		data = ?, sealed = ? WHERE id = ?`
	updateContent = `UPDATE records SET version = ?, revision = ?, last_op = ?,
		secret_hash = ?, previous_hash = ?, previous_until = ?,
		address = ?, user_agent = ?, protocol_version = ?, capabilities = ? WHERE id = ?`
	updateAll = `UPDATE records SET version = ?, revision = ?, last_op = ?,
		secret_hash = ?, previous_hash = ?, previous_until = ?,
		address = ?, user_agent = ?, protocol_version = ?, capabilities = ?,
		data = ?, sealed = ? WHERE id = ?`
)

func (t *tx) writeContent(r *stored, op *state.UpdateOp) error {
	if op.Data == nil {
		return t.bindVersion(updateContent, r).secret(r.Secret).meta(&r.Meta).int64(r.id).exec()
	}
	data, err := encodeData(r.Data)
	if err != nil {
		return err
	}
	if op.Meta == nil && op.Rotate == nil {
		return t.bindVersion(updateData, r).raw(data).sealed(r.Sealed).int64(r.id).exec()
	}
	return t.bindVersion(updateAll, r).secret(r.Secret).meta(&r.Meta).raw(data).sealed(r.Sealed).int64(r.id).exec()
}

func (t *tx) bindVersion(sql string, r *stored) *query {
	return t.query(sql).uint64(r.Version).uint64(r.Revision).bytes(r.LastOp[:])
}
