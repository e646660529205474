package gosdk

import (
	"context"
	"encoding/json"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// callLost is what a client is told of a call that nobody will answer.
const callLost = "the server restarted during this call, or no longer has its result: its outcome is unknown, call again if that is safe"

// replay returns the events of a stream from the index on.
func (e *events) replay(ctx context.Context, name string, from int64, x *exchange) ([][]byte, error) {
	if name == "" {
		if err := e.load(ctx); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	s := e.named(name)
	if s == nil {
		e.mu.Unlock()
		return e.replayStored(ctx, name, from, x)
	}
	base, mem := s.base, s.from(from)
	trimmed := from < base && (e.store == nil || s.gap || !s.keep)
	e.mu.Unlock()

	if trimmed {
		return nil, state.ErrTrimmed
	}
	if from >= base {
		return mem, nil
	}
	stored, err := e.read(ctx, name, from, base)
	return append(stored, mem...), err
}

// read returns the events of a stream from the store, up to the index to.
func (e *events) read(ctx context.Context, name string, from, to int64) ([][]byte, error) {
	var out [][]byte
	for data, err := range e.store.Read(ctx, e.key, name, from) {
		if err != nil {
			return nil, err
		}
		out = append(out, data)
		if int64(len(out)) == to-from {
			break
		}
	}
	return out, nil
}

// replayStored returns events of a stream that is live no more: of a POST that
// ended, or whose process did. If its call was not answered and never will be,
// the client is told by an error in place of the answer; it would wait, or
// throw the session away, otherwise.
func (e *events) replayStored(ctx context.Context, name string, from int64, x *exchange) ([][]byte, error) {
	if e.store == nil {
		return lostCall(x)
	}
	first, next, err := e.store.Tail(ctx, e.key, name)
	if err != nil {
		return nil, err
	}
	if next == 0 || from < first {
		return lostCall(x)
	}
	all, err := e.read(ctx, name, first, next)
	if err != nil {
		return nil, err
	}
	replay := all[min(from-first, int64(len(all))):]
	if x == nil || x.resume.call == nil || answeredIn(all, x.resume.call) {
		return replay, nil
	}
	lost, err := lostCall(x)
	return append(replay, lost...), err
}

// answeredIn reports whether one of the events is the answer to the call.
func answeredIn(events [][]byte, call json.RawMessage) bool {
	for _, data := range events {
		if id, ok := answers(data); ok && string(id) == string(call) {
			return true
		}
	}
	return false
}

// lostCall answers the call of the event id that x resumes from. Where that is
// not known, there is nothing to say but that the events are not kept.
func lostCall(x *exchange) ([][]byte, error) {
	if x == nil || x.resume.call == nil {
		return nil, state.ErrTrimmed
	}
	data, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0",
		"id":      x.resume.call,
		"error":   map[string]any{"code": codeCallLost, "message": callLost},
	})
	if err != nil {
		return nil, state.ErrTrimmed
	}
	return [][]byte{data}, nil
}

// codeCallLost is the JSON-RPC error code of callLost: internal error.
const codeCallLost = -32603

// resumeFrom returns the event id behind which a GET follows the standalone
// stream; "" is its beginning. Until [events.release], nothing is trimmed that
// x is to replay.
//
// With a Last-Event-ID it is that one, unless it is of a life that nothing is
// kept of: then the client follows from here. Without one it is what went out
// already: the SDK would replay everything, and fail if anything was trimmed.
func (e *events) resumeFrom(ctx context.Context, x *exchange, named bool) (string, error) {
	if err := e.load(ctx); err != nil {
		return "", err
	}
	e.saving.Lock() // so that no trim is under way
	defer e.saving.Unlock()
	e.mu.Lock()
	e.holds++
	x.held = true
	first, next, at := e.standing.base, e.standing.next(), e.delivered
	e.mu.Unlock()

	if named {
		at = x.resume.index
	} else if at+1 < first && e.store != nil { // not in memory
		var err error
		if first, _, err = e.store.Tail(ctx, e.key, ""); err != nil {
			e.release(x)
			return "", err
		}
	}
	if !named {
		at = max(at, first-1)
	}
	if at = min(at, next-1); at < 0 {
		return "", nil
	}
	return standaloneID(at), nil
}

// release ends what resumeFrom began; once is enough.
func (e *events) release(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.held {
		x.held = false
		e.holds--
	}
}
