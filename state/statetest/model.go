package statetest

import (
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A model is one namespace of a store, as simple as can be: the executable
// reading of the contract. It is not safe for concurrent use. It computes no
// Revision: that only has to rise, and the caller notes what the store said.
type model struct {
	now  func() time.Time
	recs map[state.Ref]*state.Record // live, or expired and not swept
	ends map[state.Ref]*state.End    // ended, and not certainly forgotten
	hazy map[state.Ref]bool          // ended, and perhaps forgotten by a sweep
}

func newModel(now func() time.Time) *model {
	return &model{now: now, recs: map[state.Ref]*state.Record{}, ends: map[state.Ref]*state.End{}, hazy: map[state.Ref]bool{}}
}

// live returns the record if it exists now.
func (m *model) live(ref state.Ref) *state.Record {
	r := m.recs[ref]
	if r == nil || r.Expired(m.now()) {
		return nil
	}
	return r
}

// end returns what is remembered of a record that does not exist.
func (m *model) end(ref state.Ref) *state.End {
	if r := m.recs[ref]; r != nil {
		end := endOf(*r, r.Expires(), r.Expiry(), "", state.OpID{})
		return &end
	}
	return m.ends[ref]
}

// vague reports whether the store may or may not remember the ref.
func (m *model) vague(ref state.Ref) bool { return m.hazy[ref] }

// sweeping notes that a sweep may forget the tombstones that are due: which of
// them, if they are too many for it, is up to the store.
func (m *model) sweeping() {
	for ref, end := range m.ends {
		if !m.now().Before(end.At.Add(state.TombstoneTTL)) {
			m.hazy[ref] = true
		}
	}
}

func (m *model) apply(op state.Op) state.Result {
	if err := state.Check(op); err != nil {
		return state.Result{Err: err}
	}
	switch op := op.(type) {
	case state.CreateOp:
		return m.create(&op)
	case state.ImportOp:
		return m.importRecord(op.Record)
	case state.DeleteOp:
		return m.delete(&op)
	}
	r := m.live(op.Target().Ref)
	if r == nil {
		return state.Result{Err: state.ErrNotFound}
	}
	next := r.Clone()
	if err := m.change(&next, op); err != nil {
		return state.Result{Err: err}
	}
	*r = next
	return state.Result{Stamp: r.Stamp}
}

// change applies an operation to a live record.
func (m *model) change(r *state.Record, op state.Op) error {
	now := m.now()
	switch op := op.(type) {
	case state.UpdateOp:
		return m.update(r, &op)
	case state.TouchOp:
		if fenced(r, op.Epoch) {
			return state.ErrFenced
		}
		r.Stamp = op.Apply(r.Stamp, now)
	case state.ExtendOp:
		if fenced(r, op.Epoch) {
			return state.ErrFenced
		}
		r.Stamp = op.Apply(r.Stamp, now)
	case state.SetOwnerOp:
		if op.Epoch != r.Epoch {
			return state.ErrFenced
		}
		r.Owner, r.Epoch = op.Owner, r.Epoch+1
	}
	return nil
}

func fenced(r *state.Record, epoch uint64) bool { return epoch != 0 && epoch != r.Epoch }

func (m *model) update(r *state.Record, op *state.UpdateOp) error {
	switch {
	case fenced(r, op.Epoch):
		return state.ErrFenced
	case op.Version != r.Version:
		return state.ErrConflict
	}
	if op.Meta != nil {
		r.Meta = *op.Meta
	}
	if op.Data != nil {
		r.Data, r.Sealed = op.Data, op.Sealed
	}
	if op.Rotate != nil {
		r.Secret = op.Rotate.Apply(r.Secret.At(m.now()), m.now())
	}
	r.Version, r.LastOp = r.Version+1, op.ID
	return nil
}

// taken reports whether the ref names a record or a tombstone.
func (m *model) taken(ref state.Ref) bool { return m.recs[ref] != nil || m.ends[ref] != nil }

func (m *model) create(op *state.CreateOp) state.Result {
	given := &op.Record
	if m.taken(given.Ref) {
		return state.Result{Err: state.ErrExists}
	}
	evict, err := m.room(op)
	if err != nil {
		return state.Result{Err: err}
	}
	var ended []state.End
	for _, r := range evict {
		ended = append(ended, m.bury(r, state.ReasonEvicted, op.By, op.ID))
	}
	r := state.Record{
		Namespace: given.Namespace, Kind: given.Kind, Ref: given.Ref, User: given.User,
		Stamp: op.Stamp(m.now()), Secret: state.Secret{Hash: given.Secret.Hash},
		Meta: given.Meta, Data: given.Data, Sealed: given.Sealed, LastOp: op.ID,
	}
	m.recs[r.Ref] = &r
	return state.Result{Stamp: r.Stamp, Ended: ended}
}

// room says whom a Create evicts, oldest first, or which limit forbids it.
func (m *model) room(op *state.CreateOp) (evict []*state.Record, err error) {
	var total, mine []*state.Record
	for _, r := range m.recs {
		if r.Kind != op.Record.Kind || r.Expired(m.now()) {
			continue
		}
		total = append(total, r)
		if r.User == op.Record.User {
			mine = append(mine, r)
		}
	}
	l := op.Limit
	if l.PerUser > 0 && op.Record.User != "" && len(mine) >= l.PerUser {
		if l.Refuse {
			return nil, state.ErrLimit
		}
		slices.SortFunc(mine, byAge)
		evict = mine[:len(mine)-l.PerUser+1]
	}
	if l.Total > 0 && len(total)-len(evict)+1 > l.Total {
		return nil, state.ErrLimit
	}
	return evict, nil
}

func byAge(a, b *state.Record) int {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return a.Ref.Compare(b.Ref)
}

// bury ends a live record.
func (m *model) bury(r *state.Record, reason state.Reason, by string, op state.OpID) state.End {
	end := endOf(*r, state.Cut(m.now()), reason, by, op)
	delete(m.recs, r.Ref)
	m.ends[r.Ref] = &end
	return end
}

func (m *model) importRecord(r state.Record) state.Result {
	switch {
	case r.Expired(m.now()):
		return state.Result{Err: state.ErrNotFound}
	case m.taken(r.Ref):
		return state.Result{Err: state.ErrExists}
	}
	r.Owner, r.Epoch = "", 0
	m.recs[r.Ref] = &r
	return state.Result{Stamp: r.Stamp}
}

func (m *model) delete(op *state.DeleteOp) state.Result {
	r := m.live(op.Key.Ref)
	switch {
	case r == nil:
		return state.Result{}
	case fenced(r, op.Epoch):
		return state.Result{Err: state.ErrFenced}
	}
	return state.Result{Ended: []state.End{m.bury(r, op.Reason, op.By, op.ID)}}
}

// expired returns the Ends that sweeps of the kind will return.
func (m *model) expired(kind string) map[state.Ref]state.End {
	ends := map[state.Ref]state.End{}
	for ref, r := range m.recs {
		if r.Expired(m.now()) && (kind == "" || r.Kind == kind) {
			ends[ref] = *m.end(ref)
		}
	}
	return ends
}

// swept notes that a sweep ended the record.
func (m *model) swept(end state.End) {
	delete(m.recs, end.Key.Ref)
	m.ends[end.Key.Ref] = &end
	m.sweeping() // it may be due already
}

// list returns what List yields, as Get returns it.
func (m *model) list(q state.Query) []state.Record {
	var rs []state.Record
	for _, r := range m.recs {
		if q.Match(r, m.now()) && r.Ref.Compare(q.After) > 0 {
			c := r.Clone()
			c.Secret = c.Secret.At(m.now())
			rs = append(rs, c)
		}
	}
	slices.SortFunc(rs, func(a, b state.Record) int { return a.Ref.Compare(b.Ref) })
	if q.Max > 0 && len(rs) > q.Max {
		rs = rs[:q.Max]
	}
	return rs
}
