package nats

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// applyAtOnce bounds the operations of one Apply that are under way.
const applyAtOnce = 32

// Apply implements [state.Store]. Operations on different refs are under way at
// the same time.
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	if err := s.enter(ctx); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer s.leave()
	s.refresh()
	if len(ops) == 1 {
		results[0] = s.apply(ctx, ops[0])
		return results
	}
	var order []state.Key
	queues := make(map[state.Key][]int)
	for i, op := range ops {
		if err := state.Check(op); err != nil {
			results[i].Err = err
			continue
		}
		key := op.Target()
		if queues[key] == nil {
			order = append(order, key)
		}
		queues[key] = append(queues[key], i)
	}
	var wg sync.WaitGroup
	room := semaphore.NewWeighted(applyAtOnce)
	for _, key := range order {
		_ = room.Acquire(context.Background(), 1) // operations end by themselves
		wg.Go(func() {
			defer room.Release(1)
			for _, i := range queues[key] {
				results[i] = s.apply(ctx, ops[i])
			}
		})
	}
	wg.Wait()
	return results
}

func (s *Store) apply(ctx context.Context, op state.Op) state.Result {
	if err := state.Check(op); err != nil {
		return state.Result{Err: err}
	}
	if err := ctx.Err(); err != nil {
		return state.Result{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	turn := s.turns[op.Target().Ref.Routing()]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return state.Result{Err: unavailable("write to", ctx.Err())}
	}
	var res state.Result
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		res, err = s.attempt(ctx, op)
		return err
	})
	if err != nil {
		return state.Result{Err: err}
	}
	return res
}

// attempt reads, decides and writes once.
func (s *Store) attempt(ctx context.Context, op state.Op) (state.Result, error) {
	switch op := op.(type) {
	case state.CreateOp:
		return s.create(ctx, &op)
	case state.ImportOp:
		return s.importRecord(ctx, &op)
	case state.UpdateOp:
		return s.change(ctx, op.Key, op.Epoch, state.Updated, update(op))
	case state.TouchOp:
		return s.change(ctx, op.Key, op.Epoch, 0, touch(op))
	case state.ExtendOp:
		return s.change(ctx, op.Key, op.Epoch, state.Updated, extend(op))
	case state.SetOwnerOp:
		return s.change(ctx, op.Key, 0, state.Updated, setOwner(op))
	case state.DeleteOp:
		return s.delete(ctx, &op)
	}
	return state.Result{}, &state.InvalidError{What: "operation", Why: "give it by value"}
}
