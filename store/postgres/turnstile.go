package postgres

import (
	"context"
	"sync"
)

// A turnstile lets many pass at once, and lets somebody wait until those who
// are in it have left, without keeping others out.
type turnstile struct {
	mu      sync.Mutex // guards all below
	current *crowd
	before  []*crowd // not empty, oldest first
}

// A crowd is those who entered between two drains.
type crowd struct {
	inside int
	left   chan struct{} // closed when it is empty and nobody enters it any more
}

// enter returns the crowd to leave.
func (t *turnstile) enter() *crowd {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil {
		t.current = &crowd{left: make(chan struct{})}
	}
	t.current.inside++
	return t.current
}

func (t *turnstile) leave(c *crowd) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.inside--; c.inside > 0 || c == t.current {
		return
	}
	close(c.left)
	for i := range t.before {
		if t.before[i] == c {
			t.before = append(t.before[:i:i], t.before[i+1:]...)
			return
		}
	}
}

// drain waits until those have left who are inside now, and reports false if
// the context ended before.
func (t *turnstile) drain(ctx context.Context) bool {
	t.mu.Lock()
	if t.current != nil && t.current.inside > 0 {
		t.before = append(t.before, t.current)
		t.current = nil
	}
	wait := t.before
	t.mu.Unlock()
	for _, c := range wait {
		select {
		case <-c.left:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
