package session

import (
	"context"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// touches joins the touches of one session that are wanted at the same moment.
// The zero value is ready.
type touches struct {
	mu      sync.Mutex // guards flights
	flights map[state.Ref]*flight
}

// A flight is a touch on its way. Its fields are written before done is closed.
type flight struct {
	done  chan struct{}
	stamp state.Stamp
	err   error
}

// do runs touch, or waits for the one that is running for the ref. It reports
// whether it was the first.
func (t *touches) do(ctx context.Context, ref state.Ref, touch func() (state.Stamp, error)) (state.Stamp, bool, error) {
	f, first := t.join(ref)
	if first {
		defer t.leave(ref, f)
		f.stamp, f.err = touch()
		return f.stamp, true, f.err
	}
	select {
	case <-f.done:
		return f.stamp, false, f.err
	case <-ctx.Done():
		return state.Stamp{}, false, ctx.Err()
	}
}

func (t *touches) join(ref state.Ref) (f *flight, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.flights[ref]; f != nil {
		return f, false
	}
	if t.flights == nil {
		t.flights = map[state.Ref]*flight{}
	}
	f = &flight{done: make(chan struct{}), err: ErrUnavailable}
	t.flights[ref] = f
	return f, true
}

func (t *touches) leave(ref state.Ref, f *flight) {
	t.mu.Lock()
	delete(t.flights, ref)
	t.mu.Unlock()
	close(f.done)
}
