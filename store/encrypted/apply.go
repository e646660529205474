package encrypted

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// concurrentReads bounds how many records an Apply reads at once.
const concurrentReads = 16

// Apply implements [state.Store].
//
// An Update needs the record as it is after what stands before it, so
// operations go to the inner store in waves: an Update behind another operation
// on its ref waits for the next one. An Apply without that is one wave.
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	if err := ctx.Err(); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	pending := make([]int, 0, len(ops))
	for i, op := range ops {
		if results[i].Err = s.check(op); results[i].Err == nil {
			pending = append(pending, i)
		}
	}
	for len(pending) > 0 {
		wave, rest := split(ops, pending)
		s.applyWave(ctx, ops, wave, results)
		pending = rest
	}
	return results
}

// split takes off the operations that may go together.
func split(ops []state.Op, pending []int) (wave, rest []int) {
	if len(pending) == 1 {
		return pending, nil
	}
	const inWave, waiting = 1, 2
	refs := make(map[state.Key]int, len(pending))
	for _, i := range pending {
		key := ops[i].Target()
		_, update := ops[i].(state.UpdateOp)
		if refs[key] == waiting || update && refs[key] == inWave {
			refs[key] = waiting
			rest = append(rest, i)
			continue
		}
		refs[key] = inWave
		wave = append(wave, i)
	}
	return wave, rest
}

// applyWave seals the operations of a wave and applies them in one call.
func (s *Store) applyWave(ctx context.Context, ops []state.Op, wave []int, results []state.Result) {
	prepared := s.prepareAll(ctx, ops, wave, results)
	sealed := make([]state.Op, 0, len(wave))
	which := make([]int, 0, len(wave))
	for n, i := range wave {
		if results[i].Err == nil {
			sealed, which = append(sealed, prepared[n]), append(which, i)
		}
	}
	if len(sealed) == 0 {
		return
	}
	for n, res := range s.inner.Apply(ctx, sealed...) {
		i := which[n]
		results[i] = s.finish(ops[i], res)
	}
}

// prepareAll returns the sealed operations. Those that failed have their errors
// in their results.
func (s *Store) prepareAll(ctx context.Context, ops []state.Op, wave []int, results []state.Result) []state.Op {
	prepared := make([]state.Op, len(wave))
	if len(wave) == 1 {
		i := wave[0]
		prepared[0], results[i].Err = s.prepareAny(ctx, ops[i])
		return prepared
	}
	var reads errgroup.Group
	reads.SetLimit(concurrentReads)
	for n, i := range wave {
		prepareOne := func() error {
			prepared[n], results[i].Err = s.prepareAny(ctx, ops[i])
			return nil
		}
		if _, reading := ops[i].(state.UpdateOp); reading {
			reads.Go(prepareOne)
		} else {
			_ = prepareOne()
		}
	}
	_ = reads.Wait() // each has its error in its result
	return prepared
}

// check refuses what the inner store would, and what this one cannot bound.
func (s *Store) check(op state.Op) error {
	if err := state.Check(op); err != nil {
		return err
	}
	longest := s.opts.MaxLifetime
	tooLong := false
	switch op := op.(type) {
	case state.CreateOp:
		tooLong = op.Lifetime > longest
	case state.ExtendOp:
		tooLong = op.Max > longest
	case state.ImportOp:
		tooLong = op.Record.AbsoluteDeadline.Sub(op.Record.Created) > longest
	case state.UpdateOp, state.TouchOp, state.SetOwnerOp, state.DeleteOp:
	default:
		return &state.InvalidError{What: "operation", Why: "give it by value"}
	}
	if longest > 0 && tooLong {
		return &state.InvalidError{What: "lifetime", Why: "must be at most " + longest.String() + ", as this encrypted store is set up"}
	}
	return nil
}

func (s *Store) prepareAny(ctx context.Context, op state.Op) (state.Op, error) {
	if update, ok := op.(state.UpdateOp); ok {
		return s.prepareUpdate(ctx, &update)
	}
	return s.prepare(op)
}

// prepare seals an operation that needs no look at the record.
func (s *Store) prepare(op state.Op) (state.Op, error) {
	switch op := op.(type) {
	case state.CreateOp:
		r, err := s.sealNew(&op.Record, 1, false)
		op.Record = r
		return op, err
	case state.ImportOp:
		r, err := s.sealNew(&op.Record, op.Record.Version, true)
		op.Record = r
		return op, err
	}
	return op, nil
}

// sealNew returns the inner record for a new one. The time of creation is known
// if it is imported.
func (s *Store) sealNew(r *state.Record, version uint64, imported bool) (state.Record, error) {
	token := s.users.token(r.Namespace, r.User)
	b := binding{key: r.Key(), kind: r.Kind, version: version, token: token, hash: r.Secret.Hash}
	c := content{User: r.User, Meta: r.Meta, Data: r.Data, Sealed: r.Sealed}
	created := s.opts.Clock()
	if imported {
		created, c.Secret.Previous = state.Cut(r.Created), r.Secret.Previous
	}
	sealed, err := s.seal(&b, created, imported, &c)
	if err != nil {
		return state.Record{}, err
	}
	inner := *r
	inner.User, inner.Meta, inner.Data, inner.Sealed = token, state.Metadata{}, nil, sealed
	return inner, nil
}

// finish makes of a result of the inner store the caller's, and remembers what
// it says.
func (s *Store) finish(op state.Op, res state.Result) state.Result {
	key := op.Target()
	res.Ended = s.ends(res.Ended)
	if res.Err != nil {
		res.Err = s.withUser(res.Err)
		return res
	}
	switch op := op.(type) {
	case state.CreateOp:
		s.seen.made(key, res.Stamp.Version)
		s.nameEvicted(op.Record.User, res.Ended)
	case state.ImportOp:
		s.seen.made(key, res.Stamp.Version)
	case state.UpdateOp:
		s.seen.saw(key, res.Stamp.Version)
	}
	return res
}

// nameEvicted names the user of what a Create evicted: its own. That matters to
// users who are too long for a token.
func (s *Store) nameEvicted(user string, ends []state.End) {
	for i := range ends {
		ends[i].User = user
	}
}
