package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// patience is how much longer than its context a caller waits for the answer
// to what was already sent: mostly it is on its way.
const patience = 100 * time.Millisecond

// What a lane tells a caller who did not stay.
var (
	errWithdrawn = errors.New("withdrawn before it was sent")
	errLeft      = errors.New("left before the answer")
)

// A lane gathers what callers want at the same time and does it in groups, a
// few at once: while those are under way, the next gather. A caller alone does
// not wait.
type lane[T any] struct {
	groups  int                              // at once
	most    int                              // weight of a group
	timeout time.Duration                    // of a group
	grace   time.Duration                    // for a group that nobody waits for any more
	run     func(ctx context.Context, g []T) // does a group; must end with its context

	servers sync.WaitGroup

	mu       sync.Mutex // guards all below, and what calls say it guards
	waiting  []*call[T]
	running  int
	under    int         // callers whose group is under way
	around   int         // callers there are: the most that were here of late
	settling []*settling // servers between two groups, first come first
}

// A settling is a server that gives callers a moment to come.
type settling struct {
	callers int           // so many
	come    chan struct{} // closed when they are there
}

// A call is what one caller wants.
type call[T any] struct {
	want   T
	weight int
	group  *group        // guarded by the lane's mu; nil while it waits
	done   chan struct{} // closed when the group is done
}

// A group is what is done at once. It has a context of its own, so that no
// caller's takes the others along.
type group struct {
	stay   int // callers who still wait; guarded by the lane's mu
	cancel context.CancelFunc
}

// do has want done, together with what others want. If it returns nil that is
// done; if it returns errWithdrawn nothing was sent, and if it returns errLeft
// it may be under way.
func (l *lane[T]) do(ctx context.Context, want T, weight int) error {
	l.mu.Lock()
	if l.running < l.groups && len(l.waiting) == 0 {
		l.running++
		l.under++
		l.mu.Unlock()
		return l.alone(ctx, want)
	}
	c := &call[T]{want: want, weight: weight, done: make(chan struct{})}
	l.waiting = append(l.waiting, c)
	l.notice()
	if l.running < l.groups {
		l.running++
		l.servers.Go(l.serve)
	}
	l.mu.Unlock()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	if l.withdraw(c) {
		return errWithdrawn
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	}
	l.leave(c)
	return errLeft
}

// alone does a group of one, without another goroutine: a caller who comes
// alone does not pay for those who come together.
func (l *lane[T]) alone(ctx context.Context, want T) error {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(patience, cancel) })
	l.run(own, []T{want})
	stop()
	l.mu.Lock()
	l.under--
	if len(l.waiting) > 0 {
		l.servers.Go(l.serve)
	} else {
		l.running--
	}
	l.mu.Unlock()
	return nil
}

// withdraw reports whether the call was in no group yet; it will be in none.
func (l *lane[T]) withdraw(c *call[T]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.group != nil {
		return false
	}
	for i := range l.waiting {
		if l.waiting[i] == c {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			break
		}
	}
	return true
}

// leave ends a group that nobody waits for any more, after its grace: a
// connection that hangs must not hold up those who come after.
func (l *lane[T]) leave(c *call[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.group.stay--; c.group.stay > 0 {
		return
	}
	if l.grace == 0 {
		c.group.cancel()
		return
	}
	time.AfterFunc(l.grace, c.group.cancel)
}

// serve does groups until nobody waits.
func (l *lane[T]) serve() {
	last, took := 0, time.Duration(0)
	for {
		l.settle(last, min(took/8, time.Millisecond))
		calls, ctx, g := l.take()
		if calls == nil {
			return
		}
		start := time.Now()
		wants := make([]T, len(calls))
		for i, c := range calls {
			wants[i] = c.want
		}
		l.run(ctx, wants)
		g.cancel()
		last, took = l.done(calls), time.Since(start)
		for _, c := range calls {
			close(c.done)
		}
	}
}

// done takes note that a group has ended, and returns how many it was for.
func (l *lane[T]) done(calls []*call[T]) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under -= len(calls)
	return len(calls)
}

// share is how many callers a group is for, so that all groups have as many:
// a large one beside a small one keeps the most callers waiting the longest. mu
// is held.
func (l *lane[T]) share() int { return (l.around + l.groups - 1) / l.groups }

// take makes a group of those who wait; nil if nobody does.
func (l *lane[T]) take() ([]*call[T], context.Context, *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.around = max(len(l.waiting)+l.under, l.around-(l.around+7)/8)
	n, weight := 0, 0
	for n < min(len(l.waiting), l.share()) && (n == 0 || weight+l.waiting[n].weight <= l.most) {
		weight += l.waiting[n].weight
		n++
	}
	if n == 0 {
		l.running--
		return nil, nil, nil
	}
	calls := append([]*call[T](nil), l.waiting[:n]...)
	l.waiting = append(l.waiting[:0], l.waiting[n:]...)
	clear(l.waiting[len(l.waiting) : len(l.waiting)+n])
	l.under += n
	if len(l.waiting) > 0 && l.running < l.groups {
		l.running++
		l.servers.Go(l.serve)
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	g := &group{stay: n, cancel: cancel}
	for _, c := range calls {
		c.group = g
	}
	return calls, ctx, g
}

// settle gives those a moment whose last call was just answered: mostly they
// are about to come back with the next, and then the group has its share.
func (l *lane[T]) settle(last int, patience time.Duration) {
	if last == 0 {
		return
	}
	st := l.await(min(last, l.most))
	if st == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-st.come:
	case <-timer.C:
		l.mu.Lock()
		l.settling = slices.DeleteFunc(l.settling, func(other *settling) bool { return other == st })
		l.mu.Unlock()
	}
}

// await returns nil if so many callers wait already, and a share of them.
func (l *lane[T]) await(callers int) *settling {
	l.mu.Lock()
	defer l.mu.Unlock()
	callers = max(callers, min(l.share(), l.most))
	if len(l.waiting) >= callers {
		return nil
	}
	st := &settling{callers: callers, come: make(chan struct{})}
	l.settling = append(l.settling, st)
	return st
}

// notice tells the first server that settles if those it waits for have come.
// mu is held.
func (l *lane[T]) notice() {
	if len(l.settling) > 0 && len(l.waiting) >= l.settling[0].callers {
		close(l.settling[0].come)
		l.settling = slices.Delete(l.settling, 0, 1)
	}
}

// wait returns when all groups have ended. Nobody may call do any more.
func (l *lane[T]) wait() { l.servers.Wait() }
