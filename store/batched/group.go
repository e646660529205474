package batched

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// patience is how long a caller whose context has ended waits for the outcome
// of what was sent.
const patience = 100 * time.Millisecond

// A call is what one caller wants written.
type call struct {
	ctx  context.Context
	ops  []state.Op
	size int // in bytes

	group   *group         // guarded by Store.mu; nil: still in the queue
	results []state.Result // read after done is closed
	done    chan struct{}
}

// A group is calls that are sent together.
type group struct {
	calls  []*call
	left   atomic.Int64 // callers who still wait
	ctx    context.Context
	cancel context.CancelFunc
}

// submit has the operations stored, alone or with those of others. s.mu is
// held, and released.
func (s *Store) submit(ctx context.Context, ops []state.Op) []state.Result {
	if s.senders < s.opts.Groups && len(s.queue) == 0 && s.rested() && s.apart(ops) {
		s.senders++
		s.began = time.Now()
		s.depart(1, ops)
		s.mu.Unlock()
		results := s.send(ctx, 1, ops)
		s.mu.Lock()
		s.arrive(1, ops)
		s.carryOn()
		s.mu.Unlock()
		return results
	}
	c := &call{ctx: ctx, ops: ops, size: size(ops), done: make(chan struct{})}
	s.queue = append(s.queue, c)
	s.queued += len(ops)
	if s.queued >= s.opts.MaxOps || s.wanted > 0 && len(s.queue) >= s.wanted {
		s.hurry()
	}
	if s.senders < s.opts.Groups {
		s.senders++
		s.carryOn()
	}
	s.mu.Unlock()
	return s.await(c)
}

// apart reports whether none of the operations is on a ref that is on its way:
// then they need not wait for what came before them. s.mu is held; so it is for
// those that follow.
func (s *Store) apart(ops []state.Op) bool {
	for _, op := range ops {
		if op != nil && s.sent[op.Target()] {
			return false
		}
	}
	return true
}

func (s *Store) depart(calls int, ops []state.Op) {
	s.under += calls
	for _, op := range ops {
		if op != nil {
			s.sent[op.Target()] = true
		}
	}
}

func (s *Store) arrive(calls int, ops []state.Op) {
	s.under -= calls
	for _, op := range ops {
		if op != nil {
			delete(s.sent, op.Target())
		}
	}
}

// rested reports whether a group may begin now.
func (s *Store) rested() bool {
	return s.opts.Interval <= 0 || time.Since(s.began) >= s.opts.Interval
}

// carryOn lets what has been collected be sent, by one who sends already.
func (s *Store) carryOn() {
	if len(s.queue) == 0 {
		s.senders--
		return
	}
	s.calls.Go(s.sendGroups)
}

// share is how many calls a group is for, so that all groups have as many: a
// large one beside a small one keeps the most callers waiting the longest. Where
// an Interval lies between groups they are one after the other.
func (s *Store) share() int {
	if s.opts.Interval > 0 {
		return math.MaxInt
	}
	return (s.around + s.opts.Groups - 1) / s.opts.Groups
}

// hurry cuts the wait for more short.
func (s *Store) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendGroups sends groups until nothing is left that may be sent.
func (s *Store) sendGroups() {
	last, took := 0, time.Duration(0)
	for {
		s.turn <- struct{}{}
		s.rest()
		s.settle(last, min(took/8, time.Millisecond))
		g := s.nextGroup()
		<-s.turn
		if g == nil {
			return
		}
		start := time.Now()
		s.sendGroup(g)
		last, took = len(g.calls), time.Since(start)
	}
}

// rest waits until a group may begin.
func (s *Store) rest() {
	if s.opts.Interval <= 0 {
		return
	}
	s.mu.Lock()
	wait := s.opts.Interval - time.Since(s.began)
	if s.closed || s.queued >= s.opts.MaxOps {
		wait = 0
	}
	s.mu.Unlock()
	s.doze(wait)
}

// settle gives those a moment who were just answered: mostly they are about to
// come back, and then the group has its share.
func (s *Store) settle(last int, patience time.Duration) {
	if last == 0 || s.opts.Interval > 0 {
		return
	}
	s.mu.Lock()
	s.wanted = max(last, s.share())
	if s.closed || len(s.queue) >= s.wanted || s.queued >= s.opts.MaxOps {
		patience = 0
	}
	s.mu.Unlock()
	s.doze(patience)
	s.mu.Lock()
	s.wanted = 0
	s.mu.Unlock()
}

// doze waits so long, or until somebody hurries.
func (s *Store) doze(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	}
}

// nextGroup takes the next group off the queue; nil if there is none, and then
// there is one sender less. What is on a ref of another group, and all behind
// it, stays for the sender of that.
func (s *Store) nextGroup() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.around = max(len(s.queue)+s.under, s.around-(s.around+7)/8)
	g, share := &group{}, s.share()
	ops, bytes := 0, 0
	for _, c := range s.queue {
		full := len(g.calls) == share || len(g.calls) > 0 && (ops+len(c.ops) > s.opts.MaxOps || bytes+c.size > s.opts.MaxBytes)
		if full || !s.apart(c.ops) {
			break
		}
		ops, bytes = ops+len(c.ops), bytes+c.size
		c.group = g
		g.calls = append(g.calls, c)
	}
	n := len(g.calls)
	if n == 0 {
		s.senders--
		return nil
	}
	for _, c := range g.calls {
		s.depart(1, c.ops) // not before: one group may have a ref several times
	}
	clear(s.queue[:n])
	s.queue = s.queue[n:]
	s.queued -= ops
	s.began = time.Now()
	select {
	case <-s.wake: // it was for these
	default:
	}
	if len(s.queue) > 0 && s.senders < s.opts.Groups {
		s.senders++
		s.calls.Go(s.sendGroups)
	}
	g.left.Store(int64(n))
	ctx := g.calls[0].ctx
	if n > 1 {
		// No single caller's end is the group's.
		ctx = context.WithoutCancel(ctx)
	}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// sendGroup sends a group and tells its callers.
func (s *Store) sendGroup(g *group) {
	defer g.cancel()
	ops := g.calls[0].ops
	if len(g.calls) > 1 {
		ops = nil
		for _, c := range g.calls {
			ops = append(ops, c.ops...)
		}
	}
	results := s.send(g.ctx, len(g.calls), ops)
	s.mu.Lock()
	s.arrive(len(g.calls), ops)
	s.mu.Unlock()
	for _, c := range g.calls {
		n := len(c.ops)
		c.results, results = results[:n:n], results[n:]
		close(c.done)
	}
}

func (s *Store) send(ctx context.Context, callers int, ops []state.Op) []state.Result {
	s.groups.Add(1)
	s.operations.Add(uint64(len(ops)))
	s.opts.OnGroup(callers, len(ops))
	return s.inner.Apply(ctx, ops...)
}

// await returns the results of a call, or that its caller gave up.
func (s *Store) await(c *call) []state.Result {
	select {
	case <-c.done:
		return c.results
	case <-c.ctx.Done():
	}
	err := c.ctx.Err()
	g := s.withdraw(c)
	if g == nil {
		return failed(len(c.ops), err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.results
	case <-timer.C:
	}
	g.leave()
	return failed(len(c.ops), fmt.Errorf("%w: given up while it was written: %w", state.ErrUnknownOutcome, err))
}

// withdraw takes a call off the queue, and returns its group if it is too late
// for that.
func (s *Store) withdraw(c *call) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.group != nil {
		return c.group
	}
	for i, other := range s.queue {
		if other == c {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			s.queued -= len(c.ops)
			break
		}
	}
	return nil
}

// leave gives the group up when nobody waits for it any more.
func (g *group) leave() {
	if g.left.Add(-1) == 0 {
		g.cancel()
	}
}

// size is a measure of what the operations carry.
func size(ops []state.Op) int {
	n := 0
	for _, op := range ops {
		switch op := op.(type) {
		case state.CreateOp:
			n += state.Size(&op.Record)
		case state.ImportOp:
			n += state.Size(&op.Record)
		case state.UpdateOp:
			for k, v := range op.Data {
				n += len(k) + len(v)
			}
		}
	}
	return n
}
