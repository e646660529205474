package memory

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Apply implements [state.Store].
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	err := ctx.Err()
	if err == nil {
		err = s.enter()
	}
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer s.leave()
	for i, op := range ops {
		results[i] = s.apply(op)
	}
	return results
}

func (s *Store) apply(op state.Op) state.Result {
	if err := state.Check(op); err != nil {
		return state.Result{Err: err}
	}
	switch op := op.(type) {
	case state.CreateOp:
		return s.create(&op)
	case state.ImportOp:
		return s.importRecord(&op)
	case state.UpdateOp:
		return s.update(&op)
	case state.TouchOp:
		return s.touch(&op)
	case state.ExtendOp:
		return s.extend(&op)
	case state.SetOwnerOp:
		return s.setOwner(&op)
	case state.DeleteOp:
		return s.delete(&op)
	}
	return state.Result{Err: &state.InvalidError{What: "operation", Why: "give it by value"}}
}

// change finds the live record and lets fn change it, in one step, and reports
// the change if it is of a reported type. fn returns the error with which the
// operation fails; it must change nothing then.
func (s *Store) change(key state.Key, report state.ChangeType, fn func(e *entry, now time.Time) error) state.Result {
	sh := s.shardOf(key.Ref)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.clock.now()
	e, err := sh.find(key, now)
	if err == nil {
		err = fn(e, now)
	}
	if err != nil {
		return state.Result{Err: err}
	}
	e.rec.Revision++
	if report != 0 {
		e.space.publish(e.change(report))
	}
	res := state.Result{Stamp: e.rec.Stamp}
	res.Stamp.Remaining = e.rec.Expires().Sub(now)
	return res
}

func (s *Store) update(op *state.UpdateOp) state.Result {
	return s.change(op.Key, state.Updated, func(e *entry, now time.Time) error {
		if op.Epoch != 0 {
			if err := e.fence(op.Epoch); err != nil {
				return err
			}
		}
		if op.Version != e.rec.Version {
			return &state.ConflictError{Want: op.Version, Have: e.rec.Version}
		}
		if err := s.replaceContent(e, op); err != nil {
			return err
		}
		if op.Rotate != nil {
			e.rec.Secret = op.Rotate.Apply(e.rec.Secret, now)
		}
		e.rec.Version++
		e.rec.LastOp = op.ID
		return nil
	})
}

// replaceContent replaces metadata and data by what is given, if what comes of
// it is not too large and there is room for it.
func (s *Store) replaceContent(e *entry, op *state.UpdateOp) error {
	next := e.rec
	if op.Meta != nil {
		next.Meta = *op.Meta
	}
	if op.Data != nil {
		next.Data, next.Sealed = cloneData(op.Data), op.Sealed
	}
	if err := state.CheckSize(&next); err != nil {
		return err
	}
	cost := recordCost(&next)
	if err := s.room.reserve(0, cost-e.cost); err != nil {
		return err
	}
	e.cost, e.rec.Meta, e.rec.Data, e.rec.Sealed = cost, next.Meta, next.Data, next.Sealed
	return nil
}

func (s *Store) touch(op *state.TouchOp) state.Result {
	return s.change(op.Key, 0, func(e *entry, now time.Time) error {
		if op.Epoch != 0 {
			if err := e.fence(op.Epoch); err != nil {
				return err
			}
		}
		e.rec.Stamp = op.Apply(e.rec.Stamp, now)
		return nil
	})
}

// extend may bring a deadline forward, of which the heap must know at once:
// so it needs the lock of the space.
func (s *Store) extend(op *state.ExtendOp) state.Result {
	sp := s.findSpace(op.Key.Namespace)
	if sp == nil {
		return state.Result{Err: &state.NotFoundError{}}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return s.change(op.Key, state.Updated, func(e *entry, now time.Time) error {
		if op.Epoch != 0 {
			if err := e.fence(op.Epoch); err != nil {
				return err
			}
		}
		e.rec.Stamp = op.Apply(e.rec.Stamp, now)
		e.due = e.rec.Expires().UnixMilli()
		e.table.live.fix(e)
		return nil
	})
}

func (s *Store) setOwner(op *state.SetOwnerOp) state.Result {
	return s.change(op.Key, state.Updated, func(e *entry, _ time.Time) error {
		if err := e.fence(op.Epoch); err != nil {
			return err
		}
		e.rec.Owner = op.Owner
		e.rec.Epoch++
		return nil
	})
}

// cloneData copies what a caller gave; nil stands for no data, which is the
// most frequent and needs no map.
func cloneData(data map[string]json.RawMessage) map[string]json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	return maps.Clone(data)
}
