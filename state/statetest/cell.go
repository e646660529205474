package statetest

import (
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A cell is one record as the judge of a history sees it: a store that does
// one thing at a time. Times it cannot know it takes from the answers, and
// checks that they are possible.
type cell struct {
	made, gone bool // created; deleted
	stamp      stampCell
	value      string
	owner      string
	op         state.OpID
}

// A stampCell is a state.Stamp that can be compared with ==.
type stampCell struct {
	version, revision, epoch          uint64
	created, accessed, idle, absolute int64 // Unix nanoseconds
}

func cellOf(s state.Stamp) stampCell {
	return stampCell{
		version: s.Version, revision: s.Revision, epoch: s.Epoch,
		created: s.Created.UnixNano(), accessed: s.LastAccessed.UnixNano(),
		idle: s.IdleDeadline.UnixNano(), absolute: s.AbsoluteDeadline.UnixNano(),
	}
}

// A span is between which times the store acted.
type span struct{ from, to int64 }

// holds reports whether t, cut to a millisecond, may have been the time.
func (s span) holds(t int64) bool { return t > s.from-int64(state.Precision) && t <= s.to }

// step applies one operation. It returns the cell after it and, if the answer
// is impossible, why.
func (c cell) step(in call, out answer, clockError time.Duration) (cell, string) {
	when := span{in.from.Add(-clockError).UnixNano(), out.to.Add(clockError).UnixNano()}
	if op, ok := in.op.(state.CreateOp); ok {
		return c.create(op, out.res, when)
	}
	deadline := min(c.stamp.idle, c.stamp.absolute)
	mayLive := c.made && !c.gone && deadline > when.from
	mayNot := !c.made || c.gone || deadline <= when.to
	// Once somebody was told that the record has expired it never comes back,
	// save for what the clock's error allows.
	absent := c
	if c.made && clockError == 0 {
		absent = cell{made: true, gone: true}
	}
	if _, ok := in.op.(state.DeleteOp); ok && out.res.Err == nil && len(out.res.Ended) == 0 {
		return absent, unless(mayNot, "delete ended nothing of a live record")
	}
	switch {
	case errors.Is(out.res.Err, state.ErrNotFound):
		return absent, unless(mayNot, "a live record was not found")
	case !mayLive:
		return c, "a record was found that does not exist"
	case out.res.Err != nil:
		return c, c.refuses(in.op, out.res.Err)
	}
	return c.write(in.op, out, when)
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

func (c cell) create(op state.CreateOp, res state.Result, when span) (cell, string) {
	if errors.Is(res.Err, state.ErrExists) {
		return c, unless(c.made, "create of a free ref was refused")
	}
	if res.Err != nil || c.made {
		return c, "create of a taken ref succeeded"
	}
	s := cellOf(res.Stamp)
	now := time.Unix(0, s.created)
	want := cellOf(op.Stamp(now))
	want.revision = s.revision
	if s != want || !when.holds(s.created) {
		return c, "create returned an impossible stamp"
	}
	return cell{made: true, stamp: s, value: valueOf(op.Record.Data), op: op.ID}, ""
}

// refuses checks that the error is the one that the record calls for.
func (c cell) refuses(op state.Op, err error) string {
	switch op := op.(type) {
	case state.UpdateOp:
		if c.fences(op.Epoch) {
			return unless(errors.Is(err, state.ErrFenced), "a stale epoch was not fenced")
		}
		return unless(errors.Is(err, state.ErrConflict) && op.Version != c.stamp.version, "update of the right version was refused")
	case state.TouchOp:
		return unless(errors.Is(err, state.ErrFenced) && c.fences(op.Epoch), "touch with the right epoch was refused")
	case state.ExtendOp:
		return unless(errors.Is(err, state.ErrFenced) && c.fences(op.Epoch), "extend with the right epoch was refused")
	case state.DeleteOp:
		return unless(errors.Is(err, state.ErrFenced) && c.fences(op.Epoch), "delete with the right epoch was refused")
	case state.SetOwnerOp:
		return unless(errors.Is(err, state.ErrFenced) && op.Epoch != c.stamp.epoch, "set owner with the right epoch was refused")
	}
	return "an unexpected error"
}

func (c cell) fences(epoch uint64) bool { return epoch != 0 && epoch != c.stamp.epoch }

// write applies an operation that succeeded on a live record.
func (c cell) write(op state.Op, out answer, when span) (cell, string) {
	got := cellOf(out.res.Stamp)
	switch op := op.(type) {
	case nil:
		same := got == c.stamp && valueOf(out.rec.Data) == c.value && out.rec.Owner == c.owner && out.rec.LastOp == c.op
		return c, unless(same, "get returned something else than what was written")
	case state.DeleteOp:
		ok := !c.fences(op.Epoch) && out.res.Ended[0].Version == c.stamp.version
		return cell{made: true, gone: true}, unless(ok, "delete ended another version")
	case state.UpdateOp:
		if c.fences(op.Epoch) || op.Version != c.stamp.version {
			return c, "update of a stale version or epoch succeeded"
		}
		return c.updated(op, got)
	case state.SetOwnerOp:
		want := c.stamp
		want.epoch, want.revision = want.epoch+1, got.revision
		ok := op.Epoch == c.stamp.epoch && got == want && got.revision > c.stamp.revision
		c.stamp, c.owner = got, op.Owner
		return c, unless(ok, "set owner returned an impossible stamp")
	case state.TouchOp:
		ok := !c.fences(op.Epoch) && c.stamp.touched(got, op, when)
		c.stamp = got
		return c, unless(ok, "touch returned an impossible stamp")
	case state.ExtendOp:
		ok := !c.fences(op.Epoch) && c.stamp.extended(got, op, when)
		c.stamp = got
		return c, unless(ok, "extend returned an impossible stamp")
	}
	return c, "an unknown operation"
}

func (c cell) updated(op state.UpdateOp, got stampCell) (cell, string) {
	want := c.stamp
	want.version, want.revision = want.version+1, got.revision
	ok := got == want && got.revision > c.stamp.revision
	c.stamp, c.value, c.op = got, valueOf(op.Data), op.ID
	return c, unless(ok, "update returned an impossible stamp")
}

// kept reports whether two stamps differ in times alone, in the right direction.
func (s stampCell) kept(next stampCell, when span) bool {
	return next.version == s.version && next.epoch == s.epoch && next.created == s.created && next.revision > s.revision &&
		(next.accessed == s.accessed || next.accessed > s.accessed && when.holds(next.accessed))
}

func (s stampCell) touched(next stampCell, op state.TouchOp, when span) bool {
	slack := int64(2 * state.Precision)
	latest := max(s.idle, min(when.to+int64(op.Idle), s.absolute))
	earliest := max(s.idle, min(when.from+int64(op.Idle)-slack, s.absolute))
	return s.kept(next, when) && next.absolute == s.absolute && next.idle <= latest && next.idle >= earliest
}

func (s stampCell) extended(next stampCell, op state.ExtendOp, when span) bool {
	slack := int64(2 * state.Precision)
	limit := s.created + int64(op.Max)
	latest, earliest := min(when.to+int64(op.For), limit), min(when.from+int64(op.For), limit)-slack
	return s.kept(next, when) && next.idle == next.absolute && next.absolute <= latest && next.absolute >= earliest
}
