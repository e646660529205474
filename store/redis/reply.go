package redis

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A reply is what a script answers: one letter, the time, and what the letter
// announces.
//
//	k  done; stamps, or ends, or both
//	n  there is no such record; what stands in its place
//	x  the ref is taken
//	l  a limit is reached; u or t
//	z  too large; the size
//	f  fenced; the epoch and the owner
//	v  another version; which
//	t  events are no longer kept
//	e  it failed; the error, of which only the first word is repeated
type reply struct {
	code byte
	now  time.Time
	body []byte
}

func (s *Store) parseReply(routing byte, b []byte) (reply, error) {
	if len(b) < 9 {
		return reply{}, fmt.Errorf("read the answer of redis: %w: too short", state.ErrCorrupt)
	}
	ms := int64(binary.BigEndian.Uint64(b[1:]))
	return reply{code: b[0], now: s.observe(routing, ms), body: b[9:]}, nil
}

// stamped reads the answer to an operation that leaves a record behind.
func stamped(_ *Store, st *step, r reply) state.Result {
	if err := r.failure(st); err != nil {
		return state.Result{Err: err}
	}
	if len(r.body) < stampsSize {
		return state.Result{Err: corrupt(st.key, "answer")}
	}
	res := state.Result{Stamp: parseStamps(r.body, r.body[numbersSize:], r.now)}
	ends, err := parseEnds(st.key.Namespace, st.routing, r.body[stampsSize:])
	if err != nil {
		return state.Result{Err: err}
	}
	res.Ended = ends
	return res
}

// endedOnly reads the answer to a Delete.
func endedOnly(_ *Store, st *step, r reply) state.Result {
	if err := r.failure(st); err != nil {
		return state.Result{Err: err}
	}
	ends, err := parseEnds(st.key.Namespace, st.routing, r.body)
	return state.Result{Ended: ends, Err: err}
}

// parseEnds reads members and tombstones.
func parseEnds(namespace string, routing byte, b []byte) ([]state.End, error) {
	var ends []state.End
	for len(b) > 0 {
		if len(b) < 20 {
			return nil, fmt.Errorf("read what ended: %w", state.ErrCorrupt)
		}
		ref, err := refOf(routing, string(b[:16]))
		n := binary.BigEndian.Uint32(b[16:])
		b = b[20:]
		if err != nil || uint64(n) > uint64(len(b)) {
			return nil, fmt.Errorf("read what ended: %w", state.ErrCorrupt)
		}
		end, err := parseTomb(state.Key{Namespace: namespace, Ref: ref}, b[:n])
		if err != nil {
			return nil, err
		}
		ends, b = append(ends, end), b[n:]
	}
	return ends, nil
}

// failure returns the error that a reply stands for.
func (r *reply) failure(st *step) error {
	switch r.code {
	case 'k':
		return nil
	case 'n':
		return missing(st.key, r.body, r.now)
	case 'x':
		return state.ErrExists
	case 't':
		return state.ErrTrimmed
	case 'e':
		return failed(string(r.body))
	case 'l':
		return limitReached(st.op, r.body)
	}
	if len(r.body) < 8 {
		return corrupt(st.key, "answer")
	}
	n := binary.BigEndian.Uint64(r.body)
	switch r.code {
	case 'z':
		return &state.BoundError{What: "record", Size: int(n), Max: state.MaxRecordBytes}
	case 'f':
		return &state.FencedError{Want: epochOf(st.op), Have: n, Owner: string(r.body[8:])}
	case 'v':
		op, _ := st.op.(state.UpdateOp)
		return &state.ConflictError{Want: op.Version, Have: n}
	}
	return corrupt(st.key, "answer")
}

func limitReached(op state.Op, scope []byte) error {
	create, _ := op.(state.CreateOp)
	if string(scope) == "t" {
		return &state.LimitError{Scope: "total", Limit: create.Limit.Total}
	}
	return &state.LimitError{Scope: "user", Limit: create.Limit.PerUser}
}

func epochOf(op state.Op) uint64 {
	switch op := op.(type) {
	case state.UpdateOp:
		return op.Epoch
	case state.TouchOp:
		return op.Epoch
	case state.ExtendOp:
		return op.Epoch
	case state.SetOwnerOp:
		return op.Epoch
	case state.DeleteOp:
		return op.Epoch
	}
	return 0
}
