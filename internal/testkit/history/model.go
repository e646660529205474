package history

import (
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// asked and told are an operation of a history: a nil op is a Get.
type asked struct{ op state.Op }

type told struct {
	unknown bool // it may have happened, then or never
	err     error
	version uint64
	value   string
	ended   bool
}

// recordState is what one record is in the model.
type recordState struct {
	there   bool
	gone    bool // ended: never comes back
	version uint64
	value   string
}

// model says which histories of one record are right: each operation that was
// answered took effect at one moment between question and answer; each of
// unknown outcome at some moment after the question, or never.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return recordState{} },
		Step: func(s, in, out any) (bool, any) {
			return stepModel(s.(recordState), in.(asked).op, out.(told))
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%T %+v", in.(asked).op, out) },
	}
}

func stepModel(s recordState, op state.Op, out told) (bool, any) {
	next, result := s, told{err: state.ErrNotFound}
	switch op := op.(type) {
	case nil:
		if s.there {
			result = told{version: s.version, value: s.value}
		}
	case state.CreateOp:
		result.err = state.ErrExists
		if !s.there && !s.gone {
			next = recordState{there: true, version: 1, value: string(op.Record.Data["n"])}
			result = told{version: 1}
		}
	case state.UpdateOp:
		switch {
		case s.there && s.version != op.Version:
			result.err = state.ErrConflict
		case s.there:
			next.version, next.value = s.version+1, string(op.Data["n"])
			result = told{version: next.version}
		}
	case state.DeleteOp:
		result = told{ended: s.there}
		if s.there {
			next = recordState{gone: true}
		}
	}
	if out.unknown {
		return true, next
	}
	match := errors.Is(out.err, result.err) && out.version == result.version && out.value == result.value && out.ended == result.ended
	return match, next
}
