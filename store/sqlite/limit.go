package sqlite

import "github.com/coatcheck-mcp/coatcheck/state"

// makeRoom ends the user's oldest records as far as the limit asks for it. The
// result has an error if there may not be another record, and then nothing was
// ended.
func (t *tx) makeRoom(op *state.CreateOp) (state.Result, error) {
	oldest, err := t.overLimit(op)
	if err != nil {
		return state.Result{}, err
	}
	if len(oldest) > 0 && op.Limit.Refuse {
		return refused(&state.LimitError{Scope: "user", Limit: op.Limit.PerUser})
	}
	full, err := t.totalReached(op, len(oldest))
	if err != nil {
		return state.Result{}, err
	}
	if full {
		return refused(&state.LimitError{Scope: "total", Limit: op.Limit.Total})
	}
	var result state.Result
	for i := range oldest {
		end := oldest[i].end(t.now, state.ReasonEvicted, op.By)
		end.Op = op.ID
		if err := t.remove(&oldest[i], changeDeleted, end); err != nil {
			return state.Result{}, err
		}
		result.Ended = append(result.Ended, end)
	}
	return result, nil
}

// overLimit returns those of the user's live records, oldest first, that are
// too many once there is another.
func (t *tx) overLimit(op *state.CreateOp) ([]stored, error) {
	limit := op.Limit.PerUser
	if limit == 0 || op.Record.User == "" {
		return nil, nil
	}
	var live []stored
	err := t.query(`SELECT ` + stampColumns + `, ref FROM records INDEXED BY records_by_user
		WHERE namespace = ? AND user = ? AND user <> '' AND kind = ? ORDER BY created_at, ref`).
		text(op.Record.Namespace).user(op.Record.User).text(op.Record.Kind).
		each(func(r row) (bool, error) {
			s, err := scanStampRef(r, op.Record.Namespace)
			if !s.Expired(t.now) {
				live = append(live, s)
			}
			return true, err
		})
	if err != nil || len(live) < limit {
		return nil, err
	}
	return live[:len(live)-limit+1], nil
}

// totalReached reports whether there may be no other record of the kind, once
// so many are evicted.
func (t *tx) totalReached(op *state.CreateOp, evicted int) (bool, error) {
	limit := int64(op.Limit.Total)
	if limit == 0 {
		return false, nil
	}
	k := kindKey{op.Record.Namespace, op.Record.Kind}
	have, err := t.storedTotal(k)
	have -= int64(evicted)
	if err != nil || have < limit {
		return false, err
	}
	// The expired ones do not count. They are among those due for a sweep;
	// what else is due is put off, so that it is not looked at again and again.
	if err := t.putOff(k, maxPutOff); err != nil {
		return false, err
	}
	var expired int64
	_, err = t.query(`SELECT count(*) FROM records INDEXED BY records_by_sweep
		WHERE namespace = ? AND kind = ? AND sweep_at <= ?3 AND expires_at <= ?3`).
		text(k.namespace).text(k.kind).time(t.now).
		one(func(r row) error { expired = r.int64(0); return nil })
	return have-expired >= limit, err
}

// maxPutOff bounds the work that one operation does for others.
const maxPutOff = 1000

// putOff moves sweep_at of at most n records that are due for a sweep but have
// not expired to when they will.
func (t *tx) putOff(k kindKey, n int) error {
	err := t.query(`UPDATE records SET sweep_at = expires_at WHERE id IN (
			SELECT id FROM records INDEXED BY records_by_sweep
			WHERE namespace = ? AND kind = ? AND sweep_at <= ?3 AND expires_at > ?3 LIMIT ?)`).
		text(k.namespace).text(k.kind).time(t.now).int64(int64(n)).exec()
	if t.db.Changes() > 0 {
		t.wrote = true
	}
	return err
}
