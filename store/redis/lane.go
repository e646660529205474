package redis

import (
	"context"
	"sync"
)

// laneBytes bounds what is joined into one round trip.
const laneBytes = 1 << 20

// A lane joins what is asked for while others are under way into one round
// trip. Who asks while few are under way is not kept waiting. A busy server
// and its clients spend most of their time on reading and writing sockets, and
// this makes that once for many.
type lane[Q, A any] struct {
	// fly makes a round trip and returns an answer to each question.
	fly func(context.Context, []Q) []A
	// admit waits until one more round trip may be made, and returns what ends
	// that; nil if none has to wait. For those that outlive their callers it
	// gets the context of life.
	admit func(context.Context) (release func(), err error)
	life  context.Context
	// weigh returns the bytes of a question.
	weigh func(Q) int
	// atOnce is how many round trips are under way at most, and most how many
	// callers share one.
	atOnce, most int
	// queued says that round trips are served one after the other, so that one
	// with few has no advantage while another is under way.
	queued bool
	// pumps waits for the goroutines of the lane.
	pumps *sync.WaitGroup

	mu      sync.Mutex // guards all below
	flights int
	landed  int             // seats of the flight that landed last
	waiting []*flight[Q, A] // the last may still take more
}

// A flight is one round trip for several callers.
type flight[Q, A any] struct {
	seats  []*seat[Q, A] // guarded by the lane's mu until it is under way
	weight int           // guarded by the lane's mu
	done   chan struct{} // closed when the answers are there
	err    error         // of admission; written before that
}

// A seat is a caller's place in a flight.
type seat[Q, A any] struct {
	question Q
	answer   A    // written before the flight is done
	left     bool // the caller does not wait any more; guarded by the lane's mu
	sent     bool // guarded by the lane's mu
}

// ask asks a question. The error is that of the context, if it ends first, or
// of admission; sent says whether the question went out all the same.
func (l *lane[Q, A]) ask(ctx context.Context, question Q) (answer A, sent bool, err error) {
	l.mu.Lock()
	if l.flights < l.atOnce && !l.gathers() {
		l.flights++
		l.mu.Unlock()
		defer l.land()
		release, err := l.admission(ctx)
		if err != nil {
			return answer, false, err
		}
		defer release()
		return l.fly(ctx, []Q{question})[0], true, nil
	}
	f, s := l.board(question)
	if l.flights < l.atOnce && l.ready() {
		l.flights++
		l.pumps.Go(l.pump)
	}
	l.mu.Unlock()
	select {
	case <-f.done:
		return s.answer, f.err == nil, f.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.left = true
	return answer, s.sent, ctx.Err()
}

func (l *lane[Q, A]) admission(ctx context.Context) (release func(), err error) {
	if l.admit == nil {
		return func() {}, nil
	}
	return l.admit(ctx)
}

// board takes a seat in the last flight, or in one behind it; mu is held.
func (l *lane[Q, A]) board(question Q) (*flight[Q, A], *seat[Q, A]) {
	weight := l.weigh(question)
	var f *flight[Q, A]
	if n := len(l.waiting); n > 0 {
		f = l.waiting[n-1]
	}
	if f == nil || len(f.seats) == l.most || f.weight+weight > laneBytes {
		f = &flight[Q, A]{done: make(chan struct{}), seats: make([]*seat[Q, A], 0, l.most)}
		l.waiting = append(l.waiting, f)
	}
	s := &seat[Q, A]{question: question}
	f.seats = append(f.seats, s)
	f.weight += weight
	return f, s
}

// gathers reports whether who comes should wait for others: where round trips
// are served one after the other, until the one under way has landed or as many
// have come as were in the last. mu is held.
func (l *lane[Q, A]) gathers() bool { return l.queued && l.flights > 0 && l.landed > 1 }

// ready reports whether the next flight has gathered enough; mu is held.
func (l *lane[Q, A]) ready() bool {
	return len(l.waiting) > 1 || len(l.waiting) == 1 && (!l.gathers() || len(l.waiting[0].seats) >= l.landed)
}

// land ends a round trip for one caller, or begins the next in its place. That
// one outlives the callers, so it does not end with their contexts; it ends when
// the connection does. Whoever calls is waited for by Close, and so are those.
func (l *lane[Q, A]) land() {
	if l.more(1) {
		l.pumps.Go(l.pump)
	}
}

// pump makes the flights that wait, one after the other.
func (l *lane[Q, A]) pump() {
	for l.more(l.carryNext()) {
	}
}

// more takes note that a flight with so many seats has landed, and reports
// whether the next is to depart. If not, one round trip less is under way.
func (l *lane[Q, A]) more(seats int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.landed = seats
	l.flights--
	if !l.ready() {
		return false
	}
	l.flights++
	return true
}

// carryNext makes the next flight, and returns how many it carried.
func (l *lane[Q, A]) carryNext() int {
	release, err := l.admission(l.life)
	if err == nil {
		defer release()
	}
	f := l.depart(err == nil)
	if f == nil {
		return 0
	}
	f.err = err
	if err == nil {
		l.carry(f)
	}
	close(f.done)
	return len(f.seats)
}

// depart takes the next flight, without those who left; nil where nobody is
// left.
func (l *lane[Q, A]) depart(sent bool) *flight[Q, A] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil // another took it
	}
	next := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	staying := next.seats[:0]
	for _, s := range next.seats {
		if !s.left {
			s.sent = sent
			staying = append(staying, s)
		}
	}
	next.seats = staying
	if len(staying) == 0 {
		return nil
	}
	return next
}

func (l *lane[Q, A]) carry(f *flight[Q, A]) {
	questions := make([]Q, len(f.seats))
	for i, s := range f.seats {
		questions[i] = s.question
	}
	for i, answer := range l.fly(context.Background(), questions) {
		f.seats[i].answer = answer
	}
}
