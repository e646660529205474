package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// slack is by how much deadlines may differ: two stores have two clocks.
const slack = time.Second

// forever bounds no extension.
const forever = 99 * 365 * 24 * time.Hour

// chunk bounds the updates of one record in one call.
const chunk = 256

// update brings a copy up to date.
func (p *pass) update(ctx context.Context, r, c *state.Record) error {
	if diverged(r, c) {
		p.stats.Left++
		return nil
	}
	updates, deadlines := updateOps(r, c), deadlineOps(r, c)
	if len(updates)+len(deadlines) == 0 {
		return nil
	}
	err := p.applyAll(ctx, append(updates, deadlines...))
	switch {
	case err == nil && len(updates) > 0:
		p.stats.Updated++
	case err == nil:
		p.stats.Touched++
	case errors.Is(err, state.ErrNotFound), errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrFenced):
		p.stats.Left++ // somebody else has it, or it has ended; the next pass tells
	default:
		return fmt.Errorf("update %v: %w", r.Ref, err)
	}
	return nil
}

// diverged reports whether the copy has a life of its own.
func diverged(r, c *state.Record) bool {
	return c.Epoch > 0 || c.Version > r.Version || c.Version == r.Version && c.LastOp != r.LastOp ||
		c.Kind != r.Kind || c.User != r.User || !c.Created.Equal(r.Created)
}

// applyAll applies operations on one record in their order, until one fails.
func (p *pass) applyAll(ctx context.Context, ops []state.Op) error {
	for len(ops) > 0 {
		n := min(len(ops), chunk)
		for _, res := range p.to.Apply(ctx, ops[:n]...) {
			if res.Err != nil {
				return res.Err
			}
		}
		ops = ops[n:]
	}
	return nil
}

// updateOps are what brings a copy to the version of the original: as many as
// there were, since each raises the version by one. The last one has the
// content, so a copy that was left between two versions is not taken for the
// newer one.
func updateOps(r, c *state.Record) []state.Op {
	n := r.Version - c.Version
	ops := make([]state.Op, 0, n)
	secrets := rotations(r, c, n)
	for v := c.Version; v < r.Version; v++ {
		op := state.UpdateOp{Key: c.Key(), Version: v}
		left := int(r.Version - v)
		if left <= len(secrets) {
			op.Rotate = &secrets[len(secrets)-left]
		}
		if left == 1 {
			meta := r.Meta
			op.Meta, op.Data, op.ID = &meta, r.Data, r.LastOp
		}
		ops = append(ops, op)
	}
	return ops
}

// rotations make the secret of the copy that of the original, with the previous
// one that counts there. n is how many updates there are for them.
func rotations(r, c *state.Record, n uint64) []state.Rotation {
	if n == 0 || r.Secret.Hash == c.Secret.Hash {
		return nil
	}
	last := state.Rotation{Hash: r.Secret.Hash}
	if r.Secret.Previous.IsZero() {
		return []state.Rotation{last}
	}
	grace := r.Secret.PreviousUntil.Sub(now(r))
	if r.Secret.Previous == c.Secret.Hash {
		last.Grace = grace
		return []state.Rotation{last}
	}
	if n < 2 {
		return []state.Rotation{last} // two rotations are two updates, so this is not met
	}
	last.Grace = grace
	return []state.Rotation{{Hash: r.Secret.Previous}, last}
}

// deadlineOps are what moves the deadlines of a copy to those of the original.
func deadlineOps(r, c *state.Record) []state.Op {
	at := now(r)
	if differ(r.AbsoluteDeadline, c.AbsoluteDeadline) {
		// Only an extension does that, and it makes both deadlines one.
		left := r.AbsoluteDeadline.Sub(at)
		if left < state.Precision {
			return nil
		}
		return []state.Op{state.ExtendOp{Key: c.Key(), For: left, Max: forever}}
	}
	idle := r.IdleDeadline.Sub(at)
	if r.IdleDeadline.Sub(c.IdleDeadline) < slack || idle < state.Precision {
		return nil
	}
	return []state.Op{state.TouchOp{Key: c.Key(), Idle: idle}}
}

func differ(a, b time.Time) bool { return a.Sub(b).Abs() >= slack }

// now is the store's clock when it returned the record.
func now(r *state.Record) time.Time { return r.Expires().Add(-r.Remaining) }
