package sqlite

import (
	"context"
	"maps"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Apply implements [state.Store].
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	var valid []state.Op
	var places []int // of the valid ones in results
	for i, op := range ops {
		if err := state.Check(op); err != nil {
			results[i].Err = err
			continue
		}
		valid = append(valid, detach(op))
		places = append(places, i)
	}
	for len(valid) > 0 {
		n := min(len(valid), maxTask)
		for i, r := range s.applyTask(ctx, valid[:n]) {
			results[places[i]] = r
		}
		valid, places = valid[n:], places[n:]
	}
	return results
}

// applyTask applies a few operations, in one transaction with those of others.
func (s *Store) applyTask(ctx context.Context, ops []state.Op) []state.Result {
	t := newTask(ops)
	if err := s.write(ctx, t); err != nil {
		// The task's own results may still be the writer's.
		results := make([]state.Result, len(ops))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	return t.results
}

// write has the task done.
func (s *Store) write(ctx context.Context, t *task) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.writer.submit(ctx, t)
}

// writeJob has do done in a transaction, which do may have to do again.
func (s *Store) writeJob(ctx context.Context, do func(*tx) error) error {
	t := newJob(do)
	if err := s.write(ctx, t); err != nil {
		return err
	}
	return t.err
}

// detach copies what the caller may change after Apply has returned. The writer
// may still be at work then, if the caller gave up.
func detach(op state.Op) state.Op {
	switch op := op.(type) {
	case state.CreateOp:
		op.Record = op.Record.Clone()
		return op
	case state.ImportOp:
		op.Record = op.Record.Clone()
		return op
	case state.UpdateOp:
		op.Data = maps.Clone(op.Data)
		if op.Meta != nil {
			meta := *op.Meta
			op.Meta = &meta
		}
		if op.Rotate != nil {
			rotate := *op.Rotate
			op.Rotate = &rotate
		}
		return op
	}
	return op
}
