package sqlite

import "github.com/coatcheck-mcp/coatcheck/state"

func (t *tx) create(op *state.CreateOp) (state.Result, error) {
	taken, err := t.taken(op.Record.Key())
	if err != nil {
		return state.Result{}, err
	}
	if taken {
		return refused(state.ErrExists)
	}
	evicted, err := t.makeRoom(op)
	if err != nil {
		return state.Result{}, err
	}
	if evicted.Err != nil {
		return evicted, nil
	}
	r := stored{Record: state.Record{
		Namespace: op.Record.Namespace, Kind: op.Record.Kind, Ref: op.Record.Ref, User: op.Record.User,
		Stamp:  op.Stamp(t.now),
		Secret: state.Secret{Hash: op.Record.Secret.Hash},
		Meta:   op.Record.Meta, Data: op.Record.Data, Sealed: op.Record.Sealed,
		LastOp: op.ID,
	}}
	if err := t.insert(&r); err != nil {
		return state.Result{}, err
	}
	t.offer(r.Record)
	return state.Result{Stamp: r.Stamp, Ended: evicted.Ended}, nil
}

func (t *tx) importRecord(op *state.ImportOp) (state.Result, error) {
	r := stored{Record: op.Record}
	r.Owner, r.Epoch, r.Revision = "", 0, 1
	r.Created, r.LastAccessed = state.Cut(r.Created), state.Cut(r.LastAccessed)
	r.IdleDeadline, r.AbsoluteDeadline = state.Cut(r.IdleDeadline), state.Cut(r.AbsoluteDeadline)
	r.Secret.PreviousUntil = state.Cut(r.Secret.PreviousUntil)
	r.Secret = r.Secret.At(t.now)
	if r.Expired(t.now) {
		return refused(&state.NotFoundError{})
	}
	taken, err := t.taken(r.Key())
	if err != nil {
		return state.Result{}, err
	}
	if taken {
		return refused(state.ErrExists)
	}
	r.Remaining = r.Expires().Sub(state.Cut(t.now))
	return state.Result{Stamp: r.Stamp}, t.insert(&r)
}

// taken reports whether the key names a record, live or expired, or a
// tombstone.
func (t *tx) taken(key state.Key) (bool, error) {
	found, err := t.query("SELECT 1 FROM records WHERE namespace = ? AND ref = ?").key(key).
		one(func(row) error { return nil })
	if err != nil || found {
		return found, err
	}
	end, err := t.tombstone(key)
	return end != nil, err
}

func (t *tx) insert(r *stored) error {
	data, err := encodeData(r.Data)
	if err != nil {
		return err
	}
	err = t.query(`INSERT INTO records (namespace, ref, kind, user, version, revision, epoch, owner,
			created_at, last_accessed_at, idle_deadline, absolute_deadline, sweep_at,
			secret_hash, previous_hash, previous_until, last_op,
			address, user_agent, protocol_version, capabilities, data, sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		key(r.Key()).text(r.Kind).user(r.User).
		uint64(r.Version).uint64(r.Revision).uint64(r.Epoch).text(r.Owner).
		time(r.Created).time(r.LastAccessed).time(r.IdleDeadline).time(r.AbsoluteDeadline).time(r.Expires()).
		secret(r.Secret).bytes(r.LastOp[:]).meta(&r.Meta).raw(data).sealed(r.Sealed).exec()
	if err != nil {
		return err
	}
	t.count(r, 1)
	return t.note(changeCreated, r, state.End{})
}
