package postgres

import (
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What the column o_what of coatcheck_apply_v1 means.
const (
	rowResult     = 0
	rowEnded      = 1
	rowRemembered = 2
)

// What the column o_code means.
const (
	codeDone = iota
	codeNotFound
	codeExists
	codeConflict
	codeFenced
	codeUserLimit
	codeTotalLimit
	codeTooLarge
)

// readResult reads a row of coatcheck_apply_v1.
func readResult(r *row, ops []*operation) error {
	n, what, code := r.int(), r.int(), r.int()
	if n < 1 || n > int64(len(ops)) {
		return fmt.Errorf("coatcheck_apply_v1 answered operation %d of %d", n, len(ops))
	}
	o := ops[n-1]
	if what == rowResult {
		return o.readStamp(r, code)
	}
	var end state.End
	end.Key.Namespace, end.Key.Ref = r.text(), r.ref()
	end.Kind, end.User, end.Version = r.text(), r.user(), uint64(r.int())
	r.next += 3 // revision, epoch, owner
	end.Created, end.LastAccessed = r.time(), r.time()
	r.next += 3 // deadlines, now
	end.At, end.Reason, end.By = r.time(), state.Reason(r.text()), r.text()
	r.fill(end.Op[:])
	if what == rowEnded {
		o.result.Ended = append(o.result.Ended, end)
	} else if o.code != opDelete {
		o.result.Err = &state.NotFoundError{End: &end}
	}
	return r.err
}

// readStamp reads the rest of a row that is a result.
func (o *operation) readStamp(r *row, code int64) error {
	r.next += 4 // key, kind, user
	var s state.Stamp
	r.version(&s)
	owner := r.text()
	r.times(&s)
	s.Remaining = s.Expires().Sub(r.time())
	r.next += 4 // of ends
	size := r.int()
	if r.err != nil {
		return r.err
	}
	o.answered = true
	switch code {
	case codeDone:
		if o.code != opDelete {
			o.result.Stamp = s
		}
	case codeNotFound:
		if o.code != opDelete { // which has nothing to do then
			o.result.Err = &state.NotFoundError{}
		}
	case codeExists:
		o.result.Err = state.ErrExists
	case codeConflict:
		o.result.Err = &state.ConflictError{Want: uint64(o.version), Have: s.Version}
	case codeFenced:
		o.result.Err = &state.FencedError{Want: uint64(o.epoch), Have: s.Epoch, Owner: owner}
	case codeUserLimit:
		o.result.Err = &state.LimitError{Scope: "user", Limit: o.limit.PerUser}
	case codeTotalLimit:
		o.result.Err = &state.LimitError{Scope: "total", Limit: o.limit.Total}
	case codeTooLarge:
		o.result.Err = &state.BoundError{What: "record", Size: int(size), Max: state.MaxRecordBytes}
	default:
		return fmt.Errorf("coatcheck_apply_v1 answered with code %d", code)
	}
	return nil
}

// finish makes sure that each operation has its result.
func finish(ops []*operation) error {
	for _, o := range ops {
		if !o.answered {
			return fmt.Errorf("coatcheck_apply_v1 left out an operation on %v", o.key)
		}
	}
	return nil
}
