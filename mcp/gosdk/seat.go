package gosdk

import (
	"context"
	"time"
)

// The SDK refuses to resume a stream that is still connected. With replicas in
// between that happens by itself: the connection that broke was the client's to
// another replica, and this one hears of it later, or never, if that one is
// paused. So in a cluster whoever comes last has the stream.

// seatGrace is how long a request waits for the one before it to leave by
// itself.
const seatGrace = 100 * time.Millisecond

// A seat is a request that a stream is connected to.
type seat struct {
	leave context.CancelFunc
	left  chan struct{} // closed when the SDK is done with the request
}

// sit gives the request a context that ends when another one wants its stream.
// What it returns is to be called when the SDK is done with the request.
func (x *exchange) sit() (standUp func()) {
	s := &seat{left: make(chan struct{})}
	x.Context, s.leave = context.WithCancel(x.Context)
	x.seat = s
	return func() {
		x.live.events.unseat(s)
		s.leave()
		close(s.left)
	}
}

// takeSeat makes x the request that has the stream which it resumes. The one
// before it is made to leave.
func (x *exchange) takeSeat() error {
	for {
		before := x.live.events.seatAt(x.resume.stream, x.seat)
		if before == nil {
			return nil
		}
		grace := time.AfterFunc(seatGrace, before.leave)
		err := wait(x, before.left)
		grace.Stop()
		if err != nil {
			return err
		}
	}
}

// seatAt gives the stream to the seat if nobody has it, and returns who has it
// otherwise. The stream of a POST has the seat of that, since it was opened.
func (e *events) seatAt(name string, s *seat) (before *seat) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if before = e.seats[name]; before != nil {
		return before
	}
	if e.seats == nil {
		e.seats = map[string]*seat{}
	}
	e.seats[name] = s
	return nil
}

func (e *events) unseat(s *seat) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, has := range e.seats {
		if has == s {
			delete(e.seats, name)
		}
	}
}
