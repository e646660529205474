package batched

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A touch was answered and is not stored yet. It does not change.
type touch struct {
	op       state.TouchOp
	answered time.Time // by the monotonic clock of this process
	// What the touch moves the record's times to, by the store's clock.
	accessed, idle time.Time

	err error // why it was not stored yet, if that was tried
}

// operation returns what is to be written now: the idle deadline becomes what
// was answered. A touch that comes too late still asks whether the record
// lives.
func (t *touch) operation() state.Op {
	op := t.op
	op.Idle = max(op.Idle-time.Since(t.answered), state.Precision)
	return op
}

func touchOps(touches []*touch) []state.Op {
	ops := make([]state.Op, len(touches))
	for i, t := range touches {
		ops[i] = t.operation()
	}
	return ops
}

// over returns a touch that stands for both, of which t was answered later.
func (t *touch) over(earlier *touch) *touch {
	if earlier == nil || !earlier.idle.After(t.idle) {
		return t
	}
	both := *earlier
	both.accessed = t.accessed
	return &both
}

// show shows in a record what was answered. A nil touch shows nothing.
func (t *touch) show(r *state.Record) {
	if t == nil {
		return
	}
	now := r.Expires().Add(-r.Remaining)
	if t.accessed.After(r.LastAccessed) {
		r.LastAccessed = t.accessed
	}
	idle := t.idle
	if idle.After(r.AbsoluteDeadline) {
		idle = r.AbsoluteDeadline
	}
	if idle.After(r.IdleDeadline) {
		r.IdleDeadline = idle
	}
	r.Remaining = r.Expires().Sub(now)
}
