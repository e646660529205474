package encrypted

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// prepareUpdate reads the record, merges what is given into what is there, and
// seals it for the version that the Update makes. That the record is still what
// was read is for the inner store to see, which compares versions.
func (s *Store) prepareUpdate(ctx context.Context, op *state.UpdateOp) (state.Op, error) {
	asked := time.Now()
	r, err := s.current(ctx, op)
	if err != nil {
		return nil, err
	}
	plain := len(r.Sealed) == 0
	inner := r
	if err := s.open(ctx, &r, asked); err != nil {
		return nil, err
	}
	next := merged(&r, op)
	if err := state.CheckSize(&next); err != nil {
		return nil, err
	}
	b := bindingOf(&inner)
	b.version, b.hash = op.Version+1, next.Secret.Hash
	sealed, err := s.seal(&b, r.Created, true, &next)
	if err != nil {
		return nil, err
	}
	out := *op
	out.Meta, out.Data, out.Sealed = nil, map[string]json.RawMessage{}, sealed
	if plain {
		out.Meta = &state.Metadata{}
	}
	return out, nil
}

// merged returns the content and the secret that an Update makes of a record.
func merged(r *state.Record, op *state.UpdateOp) content {
	c := content{User: r.User, Meta: r.Meta, Data: r.Data, Sealed: r.Sealed, Secret: r.Secret}
	if op.Meta != nil {
		c.Meta = *op.Meta
	}
	if op.Data != nil {
		c.Data, c.Sealed = op.Data, op.Sealed
	}
	if op.Rotate != nil {
		// The time does not matter here: only the hashes are sealed.
		c.Secret = op.Rotate.Apply(r.Secret, time.Time{})
	}
	return c
}

// current returns the inner record that an Update expects, or the error with
// which the Update fails.
//
// If the inner store may answer with an older state, one that is behind what
// the caller knows is asked for again until it cannot be that old any more.
func (s *Store) current(ctx context.Context, op *state.UpdateOp) (state.Record, error) {
	staleness := s.inner.Guarantees().Staleness
	for until := time.Now().Add(staleness); ; {
		r, err := s.inner.Get(ctx, op.Key)
		if err != nil {
			return state.Record{}, s.withUser(err)
		}
		behind := r.Version < op.Version || r.Epoch < op.Epoch
		if !behind || !time.Now().Before(until) {
			err := expected(&r, op)
			if err != nil && staleness > 0 {
				err = s.confirm(ctx, op, err)
			}
			return r, err
		}
		if err := pause(ctx, min(staleness/16+time.Millisecond, 20*time.Millisecond)); err != nil {
			return state.Record{}, err
		}
	}
}

// expected returns the error of an Update that is not for this state.
func expected(r *state.Record, op *state.UpdateOp) error {
	if op.Epoch != 0 && op.Epoch != r.Epoch {
		return &state.FencedError{Want: op.Epoch, Have: r.Epoch, Owner: r.Owner}
	}
	if op.Version != r.Version {
		return &state.ConflictError{Want: op.Version, Have: r.Version}
	}
	return nil
}

// confirm returns the error of an Update that is not for the state that was
// read, where that may have been an older one: the record may have ended since.
// The inner store is asked by an Update that it cannot accept, since no record
// has that epoch. That the record lives is then what it says.
func (s *Store) confirm(ctx context.Context, op *state.UpdateOp, read error) error {
	probe := state.UpdateOp{ID: op.ID, Key: op.Key, Version: op.Version, Epoch: math.MaxInt64}
	err := s.inner.Apply(ctx, probe)[0].Err
	var fenced *state.FencedError
	switch {
	case err == nil:
		return read
	case !errors.As(err, &fenced):
		return s.withUser(err)
	case op.Epoch != 0 && op.Epoch != fenced.Have:
		return &state.FencedError{Want: op.Epoch, Have: fenced.Have, Owner: fenced.Owner}
	}
	return read
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
