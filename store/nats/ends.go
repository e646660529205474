package nats

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// putTomb is the message that leaves a tombstone in a record's place.
func (s *Store) putTomb(sl *slot, end state.End, now time.Time, report state.ChangeType) (put, error) {
	t := tomb{
		Kind: end.Kind, User: []byte(end.User), Version: end.Version, Revision: sl.rec.Revision + 1,
		Created: end.Created.UnixMilli(), Accessed: end.LastAccessed.UnixMilli(), At: end.At.UnixMilli(),
		Due:    state.Cut(now.Add(state.TombstoneTTL)).Add(state.Precision).UnixMilli(),
		Reason: string(end.Reason), By: end.By, Op: end.Op[:], WithEvents: sl.events,
	}
	b, err := json.Marshal(t)
	if err != nil {
		return put{}, err
	}
	p := put{
		subject: s.recordSubject(end.Key), seq: sl.seq, data: append([]byte{markTomb}, b...),
		change: encodeChange(report, end.Kind, end.Version, t.Revision, end.Reason, end.By),
	}
	if !sl.events {
		p.ttl = state.TombstoneTTL + s.opts.Unswept
	}
	return p, nil
}

// unlisted returns the message that takes a record out of its user's index, if
// it is there.
func (s *Store) unlisted(ctx context.Context, r *state.Record) ([]put, error) {
	if r.User == "" {
		return nil, nil
	}
	routing := r.Ref.Routing()
	subject := s.indexSubject(r.Namespace, r.User, routing)
	m, err := s.get(ctx, s.streamOf(routing), subject)
	if err != nil {
		return nil, err
	}
	ix, err := parseIndex(m)
	if err != nil {
		return nil, err
	}
	n := len(ix.Entries)
	ix.Entries = slices.DeleteFunc(ix.Entries, func(e indexEntry) bool { return e.Ref == r.Ref })
	if len(ix.Entries) == n {
		return nil, nil
	}
	p, err := putIndex(subject, m.seq, ix)
	return []put{p}, err
}

func putIndex(subject string, seq uint64, ix index) (put, error) {
	b, err := json.Marshal(ix)
	p := put{subject: subject, seq: seq, data: b}
	if len(ix.Entries) == 0 {
		p.ttl = time.Minute // none is as good as an empty one
	}
	return p, err
}

// bury ends a record: it leaves the tombstone, and its user's index, in one
// step.
func (s *Store) bury(ctx context.Context, sl *slot, end state.End, now time.Time, report state.ChangeType) error {
	p, err := s.putTomb(sl, end, now, report)
	if err != nil {
		return err
	}
	puts, err := s.unlisted(ctx, sl.rec)
	if err != nil {
		return err
	}
	stream := s.streamOf(end.Key.Ref.Routing())
	if report == state.Expired {
		// It has expired, whoever has the tombstone.
		_, err = s.putAll(ctx, stream, append(puts, p)...)
		return err
	}
	return s.write(ctx, stream, append(puts, p)...)
}

func (s *Store) delete(ctx context.Context, op *state.DeleteOp) (state.Result, error) {
	sl, err := s.load(ctx, op.Key)
	if err != nil {
		return state.Result{}, err
	}
	now := s.clock.now()
	if !sl.live(now) {
		// A Delete that was below its level may be repeated.
		return state.Result{}, s.confirm(ctx, sl.stream, sl.seq)
	}
	if err := fence(sl.rec, op.Epoch); err != nil {
		return state.Result{}, err
	}
	end := endOf(sl.rec)
	end.At, end.Reason, end.By, end.Op = state.Cut(now), op.Reason, op.By, op.ID
	if err := s.bury(ctx, &sl, end, now, state.Deleted); err != nil {
		return state.Result{}, err
	}
	return state.Result{Ended: []state.End{end}}, nil
}

func (s *Store) create(ctx context.Context, op *state.CreateOp) (state.Result, error) {
	given := &op.Record
	key := given.Key()
	sl, err := s.load(ctx, key)
	if err != nil {
		return state.Result{}, err
	}
	if sl.seq != 0 {
		return state.Result{}, state.ErrExists
	}
	others, err := s.others(ctx, given)
	if err != nil {
		return state.Result{}, err
	}
	now := s.clock.now()
	victims, err := s.makeRoom(ctx, op, others, now)
	if err != nil {
		return state.Result{}, err
	}
	r := state.Record{
		Namespace: given.Namespace, Kind: given.Kind, Ref: given.Ref, User: given.User,
		Stamp: op.Stamp(now), Secret: state.Secret{Hash: given.Secret.Hash},
		Meta: given.Meta, Data: given.Data, Sealed: given.Sealed, LastOp: op.ID,
	}
	res := state.Result{Stamp: r.Stamp}
	var puts []put
	for _, v := range victims {
		end := endOf(v.rec)
		end.At, end.Reason, end.By, end.Op = state.Cut(now), state.ReasonEvicted, op.By, op.ID
		p, err := s.putTomb(v, end, now, state.Deleted)
		if err != nil {
			return state.Result{}, err
		}
		puts, res.Ended = append(puts, p), append(res.Ended, end)
	}
	return res, s.insert(ctx, &r, others, victims, puts, now)
}

// insert writes a new record, what it evicts, and the user's index.
func (s *Store) insert(ctx context.Context, r *state.Record, others *standing, victims []*slot, puts []put, now time.Time) error {
	if r.User != "" {
		ix := index{Entries: []indexEntry{{Kind: r.Kind, Ref: r.Ref, Created: r.Created.UnixMilli()}}}
		for _, e := range others.index.Entries {
			if e.Ref == r.Ref || slices.ContainsFunc(victims, func(v *slot) bool { return v.rec.Ref == e.Ref }) {
				continue
			}
			ix.Entries = append(ix.Entries, e)
		}
		p, err := putIndex(others.subject, others.seq, ix)
		if err != nil {
			return err
		}
		puts = append(puts, p)
	}
	p, err := s.putRecord(r, 0, false, now, state.Created)
	if err != nil {
		return err
	}
	return s.write(ctx, s.streamOf(r.Ref.Routing()), append(puts, p)...)
}

// standing is what a user has.
type standing struct {
	subject string
	seq     uint64
	index   index
}

// others reads the index of the user of a record that is to be made.
func (s *Store) others(ctx context.Context, r *state.Record) (*standing, error) {
	if r.User == "" {
		return &standing{}, nil
	}
	routing := r.Ref.Routing()
	st := &standing{subject: s.indexSubject(r.Namespace, r.User, routing)}
	m, err := s.get(ctx, s.streamOf(routing), st.subject)
	if err != nil {
		return nil, err
	}
	st.seq = m.seq
	st.index, err = parseIndex(m)
	return st, err
}

// makeRoom returns what is to be evicted, oldest first. The index is compared
// when the record is written, and so are the records that are evicted.
func (s *Store) makeRoom(ctx context.Context, op *state.CreateOp, st *standing, now time.Time) ([]*slot, error) {
	var victims []*slot
	if limit := op.Limit.PerUser; limit > 0 && op.Record.User != "" {
		live, err := s.liveOf(ctx, &op.Record, st, now)
		if err != nil {
			return nil, err
		}
		if over := len(live) + 1 - limit; over > 0 {
			if op.Limit.Refuse {
				return nil, &state.LimitError{Scope: "user", Limit: limit}
			}
			victims = live[:over]
		}
	}
	if limit := op.Limit.Total; limit > 0 {
		over, err := s.moreThan(ctx, op.Record.Namespace, op.Record.Kind, limit-1+len(victims))
		if err != nil {
			return nil, err
		}
		if over {
			return nil, &state.LimitError{Scope: "total", Limit: limit}
		}
	}
	return victims, nil
}

// liveOf reads the live records that an index names, of the kind of r, oldest
// first. It takes what is gone out of the index, which is written anew; what
// has expired stays listed until a sweep ends it.
func (s *Store) liveOf(ctx context.Context, r *state.Record, st *standing, now time.Time) ([]*slot, error) {
	var live []*slot
	var kept []indexEntry
	for _, e := range st.index.Entries {
		if e.Kind != r.Kind {
			kept = append(kept, e)
			continue
		}
		sl, err := s.load(ctx, state.Key{Namespace: r.Namespace, Ref: e.Ref})
		if err != nil {
			return nil, err
		}
		if sl.rec != nil {
			kept = append(kept, e)
		}
		if sl.live(now) {
			live = append(live, &sl)
		}
	}
	st.index.Entries = kept
	slices.SortFunc(live, func(a, b *slot) int {
		if c := a.rec.Created.Compare(b.rec.Created); c != 0 {
			return c
		}
		return a.rec.Ref.Compare(b.rec.Ref)
	})
	return live, nil
}

func (s *Store) importRecord(ctx context.Context, op *state.ImportOp) (state.Result, error) {
	r := op.Record
	r.Revision, r.Epoch, r.Owner = 1, 0, ""
	r.Created, r.LastAccessed = state.Cut(r.Created), state.Cut(r.LastAccessed)
	r.IdleDeadline, r.AbsoluteDeadline = state.Cut(r.IdleDeadline), state.Cut(r.AbsoluteDeadline)
	if !r.Secret.PreviousUntil.IsZero() {
		r.Secret.PreviousUntil = state.Cut(r.Secret.PreviousUntil)
	}
	now := s.clock.now()
	if r.Expired(now) {
		return state.Result{}, &state.NotFoundError{}
	}
	sl, err := s.load(ctx, r.Key())
	if err != nil {
		return state.Result{}, err
	}
	if sl.seq != 0 {
		return state.Result{}, state.ErrExists
	}
	st, err := s.others(ctx, &r)
	if err != nil {
		return state.Result{}, err
	}
	now = s.clock.now()
	r.Secret = r.Secret.At(now)
	if err := s.insert(ctx, &r, st, nil, nil, now); err != nil {
		return state.Result{}, err
	}
	r.Remaining = r.Expires().Sub(now)
	return state.Result{Stamp: r.Stamp}, nil
}
