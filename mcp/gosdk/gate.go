package gosdk

import (
	"context"
	"sync"
)

// A gate lets requests in until it is closed, and knows when those that it
// counts are out.
type gate struct {
	closed context.Context // done when nobody gets in any more
	cut    context.Context // done when those inside are to end

	shut, expel context.CancelFunc

	mu     sync.Mutex // guards inside and empty
	inside int
	empty  chan struct{} // closed when the gate is closed and nobody inside
}

func newGate() *gate {
	g := &gate{empty: make(chan struct{})}
	g.closed, g.shut = context.WithCancel(context.Background())
	g.cut, g.expel = context.WithCancel(context.Background())
	return g
}

// enter lets a request in; counted says whether close has to wait for it.
func (g *gate) enter(counted bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Err() != nil {
		return false
	}
	if counted {
		g.inside++
	}
	return true
}

func (g *gate) leave(counted bool) {
	if !counted {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.signal()
}

// close lets nobody in any more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut()
	g.signal()
}

func (g *gate) signal() {
	if g.inside > 0 || g.closed.Err() == nil {
		return
	}
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}
