package postgres

import (
	"bytes"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// recordColumns are read by record, in this order; the last is the time at
// which the server read the row.
const recordColumns = `t.namespace, t.id, t.kind, t.user_id, t.version, t.revision, t.epoch, t.owner,
	t.created_at, t.last_accessed, t.idle_deadline, t.absolute_deadline,
	t.secret_hash, t.previous_hash, t.previous_until, t.last_op,
	t.ip_address, t.user_agent, t.protocol_version, t.capabilities, t.data, t.opaque, t.sealed, clock_timestamp()`

// record reads recordColumns as a caller gets the record, but that it may have
// expired. now is the time at which the server read it.
func (r *row) record() (rec state.Record, now time.Time, err error) {
	rec.Namespace, rec.Ref = r.text(), r.ref()
	rec.Kind, rec.User = r.text(), r.user()
	r.version(&rec.Stamp)
	rec.Owner = r.text()
	r.times(&rec.Stamp)
	r.fill(rec.Secret.Hash[:])
	r.fill(rec.Secret.Previous[:])
	rec.Secret.PreviousUntil = r.time()
	r.fill(rec.LastOp[:])
	rec.Meta.Address = r.address()
	rec.Meta.UserAgent, rec.Meta.ProtocolVersion = r.text(), r.text()
	rec.Meta.Capabilities = bytes.Clone(r.raw())
	data, opaque := r.json(), r.raw()
	rec.Sealed = bytes.Clone(r.raw())
	now = r.time()
	if r.err != nil {
		return rec, now, r.err
	}
	rec.Data, err = decodeData(data, opaque)
	rec.Secret = rec.Secret.At(now)
	rec.Remaining = rec.Expires().Sub(now)
	return rec, now, err
}

func (r *row) version(s *state.Stamp) {
	s.Version, s.Revision, s.Epoch = uint64(r.int()), uint64(r.int()), uint64(r.int())
}

func (r *row) times(s *state.Stamp) {
	s.Created, s.LastAccessed = r.time(), r.time()
	s.IdleDeadline, s.AbsoluteDeadline = r.time(), r.time()
}

func (r *row) ref() state.Ref {
	ref, err := state.ParseRef(r.text())
	if err != nil && r.err == nil {
		r.err = corrupt("id", err)
	}
	return ref
}

// endColumns are read by end, in this order.
const endColumns = `t.namespace, t.id, t.kind, t.user_id, t.version, t.created_at, t.last_accessed,
	t.ended_at, t.reason, t.ended_by, t.op`

func (r *row) end() (state.End, error) {
	var e state.End
	e.Key.Namespace, e.Key.Ref = r.text(), r.ref()
	e.Kind, e.User = r.text(), r.user()
	e.Version = uint64(r.int())
	e.Created, e.LastAccessed, e.At = r.time(), r.time(), r.time()
	e.Reason, e.By = state.Reason(r.text()), r.text()
	r.fill(e.Op[:])
	return e, r.err
}

// expiry is the End of a record that has expired and was not swept.
func expiry(r *state.Record) state.End {
	return state.End{
		Key: r.Key(), Kind: r.Kind, User: r.User, Version: r.Version,
		Created: r.Created, LastAccessed: r.LastAccessed,
		At: r.Expires(), Reason: r.Expiry(),
	}
}
