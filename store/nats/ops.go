package nats

import (
	"context"
	"maps"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// load reads what stands in a record's place, by the stream's leader.
func (s *Store) load(ctx context.Context, key state.Key) (slot, error) {
	stream := s.streamOf(key.Ref.Routing())
	m, err := s.get(ctx, stream, s.recordSubject(key))
	if err != nil {
		return slot{}, err
	}
	sl, err := parseSlot(key, m)
	sl.stream = stream
	return sl, err
}

// missing is the error for what is no live record.
func (sl *slot) missing(key state.Key) error {
	switch {
	case sl.tomb != nil:
		end := sl.tomb.end(key)
		return &state.NotFoundError{End: &end}
	case sl.rec != nil:
		end := endOf(sl.rec)
		end.At, end.Reason = sl.rec.Expires(), sl.rec.Expiry()
		return &state.NotFoundError{End: &end}
	}
	return &state.NotFoundError{}
}

func (sl *slot) live(now time.Time) bool { return sl.rec != nil && !sl.rec.Expired(now) }

func endOf(r *state.Record) state.End {
	return state.End{
		Key: r.Key(), Kind: r.Kind, User: r.User, Version: r.Version,
		Created: r.Created, LastAccessed: r.LastAccessed,
	}
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return state.Record{}, err
	}
	defer s.leave()
	s.refresh()
	sl, err := s.load(ctx, key)
	if err != nil {
		return state.Record{}, err
	}
	now := s.clock.now()
	if !sl.live(now) {
		return state.Record{}, sl.missing(key)
	}
	return shown(sl.rec, now), nil
}

// shown is a record as it is returned.
func shown(r *state.Record, now time.Time) state.Record {
	r.Remaining = r.Expires().Sub(now)
	r.Secret = r.Secret.At(now)
	return *r
}

// putRecord is the message that makes r what stands in its place.
func (s *Store) putRecord(r *state.Record, seq uint64, events bool, now time.Time, report state.ChangeType) (put, error) {
	b, err := encodeRecord(r, events)
	if err != nil {
		return put{}, err
	}
	p := put{subject: s.recordSubject(r.Key()), seq: seq, data: b}
	if !events { // else it has to stay until its events are removed
		p.ttl = r.Expires().Sub(now) + s.opts.Unswept
	}
	if report != 0 {
		p.change = encodeChange(report, r.Kind, r.Version, r.Revision, "", "")
	}
	return p, nil
}

// change lets fn change a live record, and writes it if it is still the same.
func (s *Store) change(ctx context.Context, key state.Key, epoch uint64, report state.ChangeType, fn func(r *state.Record, now time.Time) error) (state.Result, error) {
	sl, err := s.load(ctx, key)
	if err != nil {
		return state.Result{}, err
	}
	now := s.clock.now()
	if !sl.live(now) {
		return state.Result{}, sl.missing(key)
	}
	r := sl.rec
	if err := fence(r, epoch); err != nil {
		return state.Result{}, err
	}
	before := r.Expires()
	if err := fn(r, now); err != nil {
		return state.Result{}, err
	}
	var puts []put
	if r.Expires().Before(before) {
		c, err := s.cutOf(ctx, sl.stream, key.Namespace)
		if err != nil {
			return state.Result{}, err
		}
		puts = append(puts, put{subject: s.cutSubject(sl.stream, key.Namespace), seq: c.seq})
	}
	r.Revision++
	p, err := s.putRecord(r, sl.seq, sl.events, now, report)
	if err != nil {
		return state.Result{}, err
	}
	if err := s.write(ctx, sl.stream, append(puts, p)...); err != nil {
		return state.Result{}, err
	}
	r.Remaining = r.Expires().Sub(now)
	return state.Result{Stamp: r.Stamp}, nil
}

func fence(r *state.Record, epoch uint64) error {
	if epoch != 0 && epoch != r.Epoch {
		return &state.FencedError{Want: epoch, Have: r.Epoch, Owner: r.Owner}
	}
	return nil
}

func update(op state.UpdateOp) func(*state.Record, time.Time) error {
	return func(r *state.Record, now time.Time) error {
		if op.Version != r.Version {
			return &state.ConflictError{Want: op.Version, Have: r.Version}
		}
		if op.Meta != nil {
			r.Meta = *op.Meta
		}
		if op.Data != nil {
			r.Data, r.Sealed = maps.Clone(op.Data), op.Sealed
		}
		if err := state.CheckSize(r); err != nil {
			return err
		}
		if op.Rotate != nil {
			r.Secret = op.Rotate.Apply(r.Secret, now)
		}
		r.Version++
		r.LastOp = op.ID
		return nil
	}
}

func touch(op state.TouchOp) func(*state.Record, time.Time) error {
	return func(r *state.Record, now time.Time) error {
		r.Stamp = op.Apply(r.Stamp, now)
		return nil
	}
}

func extend(op state.ExtendOp) func(*state.Record, time.Time) error {
	return func(r *state.Record, now time.Time) error {
		r.Stamp = op.Apply(r.Stamp, now)
		return nil
	}
}

func setOwner(op state.SetOwnerOp) func(*state.Record, time.Time) error {
	return func(r *state.Record, _ time.Time) error {
		if op.Epoch != r.Epoch {
			return &state.FencedError{Want: op.Epoch, Have: r.Epoch, Owner: r.Owner}
		}
		r.Owner = op.Owner
		r.Epoch++
		return nil
	}
}
