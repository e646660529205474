package nats

import (
	"context"
	"sync"
)

// shared lets callers share what they ask. The zero value is ready.
type shared[T any] struct {
	mu    sync.Mutex // guards all below
	next  *answer[T] // nobody asks for it yet; nil: nobody wants it
	asked bool       // somebody asks
}

// An answer is what becomes of a question.
type answer[T any] struct {
	done  chan struct{} // closed when the rest is set
	value T
	err   error
}

// get asks, after the call began: it takes the answer to a question of somebody
// else only if that was not asked before. One question is asked at a time. It goes
// on when its callers have left, until the store is closed.
func (sh *shared[T]) get(ctx context.Context, s *Store, ask func(context.Context) (T, error)) (T, error) {
	sh.mu.Lock()
	if sh.next == nil {
		sh.next = &answer[T]{done: make(chan struct{})}
	}
	a := sh.next
	if !sh.asked {
		sh.asked = true
		s.pumps.Go(func() { sh.answer(s.ctx, ask) })
	}
	sh.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// answer asks until nobody wants to know any more.
func (sh *shared[T]) answer(ctx context.Context, ask func(context.Context) (T, error)) {
	for {
		sh.mu.Lock()
		a := sh.next
		sh.next = nil
		sh.asked = a != nil
		sh.mu.Unlock()
		if a == nil {
			return
		}
		a.value, a.err = ask(ctx)
		close(a.done)
	}
}
