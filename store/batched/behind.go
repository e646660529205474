package batched

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// flushPatience bounds how long one attempt to store touches may take.
	flushPatience = 10 * time.Second
	// retryInterval is how long Close waits from one attempt to the next.
	retryInterval = 50 * time.Millisecond
)

// behind keeps the touches that were answered and are to be stored.
type behind struct {
	store *Store
	opts  *WriteBehind

	// Guarded by store.mu, so that a touch keeps its place before later
	// operations on its record.
	pending map[state.Key]*touch // to be stored
	moving  map[state.Key]*touch // being stored

	unstored       atomic.Int64 // touches in pending and moving, so that Get need not lock
	deferred, lost atomic.Uint64

	life  context.Context // of run
	end   context.CancelFunc
	ended chan struct{} // closed by run
}

func newBehind(s *Store) *behind {
	b := &behind{
		store: s, opts: s.opts.WriteBehind,
		pending: map[state.Key]*touch{}, moving: map[state.Key]*touch{},
		ended: make(chan struct{}),
	}
	b.life, b.end = context.WithCancel(context.Background())
	go b.run()
	return b
}

// run stores what is pending every interval.
func (b *behind) run() {
	defer close(b.ended)
	ticker := time.NewTicker(b.opts.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-b.life.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(b.life, flushPatience)
		b.flush(ctx)
		cancel()
	}
}

func onlyTouches(ops []state.Op) bool {
	for _, op := range ops {
		if _, ok := op.(state.TouchOp); !ok {
			return false
		}
	}
	return len(ops) > 0
}

// touch answers touches, those that cannot wait when they are stored.
func (b *behind) touch(ctx context.Context, ops []state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	var through []state.Op
	var places []int
	for i, op := range ops {
		r, answered := b.answer(ctx, op.(state.TouchOp))
		if answered {
			results[i] = r
			continue
		}
		through = append(through, op)
		places = append(places, i)
	}
	if len(through) > 0 {
		for i, r := range b.store.write(ctx, through) {
			results[places[i]] = r
		}
	}
	return results
}

// answer answers a touch and leaves it to be stored, or refuses it. It reports
// false if the touch must be written through.
func (b *behind) answer(ctx context.Context, op state.TouchOp) (state.Result, bool) {
	if err := state.Check(op); err != nil {
		return state.Result{Err: err}, true
	}
	waiting := b.waiting(op.Key)
	r, err := b.store.inner.Get(ctx, op.Key)
	if err != nil {
		return state.Result{Err: err}, true
	}
	if op.Epoch != 0 && op.Epoch != r.Epoch {
		return state.Result{Err: &state.FencedError{Want: op.Epoch, Have: r.Epoch, Owner: r.Owner}}, true
	}
	if r.Remaining < b.opts.MinLife {
		return state.Result{}, false
	}
	answered := time.Now()
	waiting.show(&r)
	now := r.Expires().Add(-r.Remaining)
	stamp := op.Apply(r.Stamp, now)
	r.IdleDeadline = time.Time{} // what this touch alone moves it to
	own := op.Apply(r.Stamp, now)
	t := &touch{op: op, answered: answered, accessed: stamp.LastAccessed, idle: own.IdleDeadline}
	return b.leave(t, stamp)
}

// leave leaves a touch to be stored, if there is room.
func (b *behind) leave(t *touch, stamp state.Stamp) (state.Result, bool) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if b.store.closed {
		return state.Result{Err: state.ErrClosed}, true
	}
	before := b.pending[t.op.Key]
	if before == nil && len(b.pending)+len(b.moving) >= b.opts.MaxPending || before != nil && before.op.Epoch != t.op.Epoch {
		return state.Result{}, false
	}
	b.put(t.over(before))
	b.deferred.Add(1)
	return state.Result{Stamp: stamp}, true
}

// put makes a touch pending. store.mu is held; so it is for those below.
func (b *behind) put(t *touch) {
	b.pending[t.op.Key] = t
	b.recount()
}

func (b *behind) recount() { b.unstored.Store(int64(len(b.pending) + len(b.moving))) }

// take takes the touches that must be stored before the operations.
func (b *behind) take(ops []state.Op) []*touch {
	if len(b.pending) == 0 {
		return nil
	}
	var first []*touch
	for _, op := range ops {
		if state.Check(op) != nil {
			continue // it will be refused
		}
		if t := b.pending[op.Target()]; t != nil {
			first = append(first, b.move(t))
		}
	}
	return first
}

func (b *behind) move(t *touch) *touch {
	delete(b.pending, t.op.Key)
	b.moving[t.op.Key] = t
	return t
}

// waiting returns the touch of a record that is to be stored; nil for none.
func (b *behind) waiting(key state.Key) *touch {
	if b.unstored.Load() == 0 {
		return nil
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	pending, moving := b.pending[key], b.moving[key]
	if pending == nil {
		return moving
	}
	return pending.over(moving)
}

// flush stores what is pending when it is called.
func (b *behind) flush(ctx context.Context) {
	s := b.store
	s.mu.Lock()
	all := make([]*touch, 0, len(b.pending))
	for _, t := range b.pending {
		all = append(all, b.move(t))
	}
	s.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), s.opts.MaxOps)
		s.mu.Lock()
		s.calls.Add(1)
		results := s.submit(ctx, touchOps(all[:n]))
		s.calls.Done()
		b.settle(all[:n], results)
		all = all[n:]
		if err := results[0].Err; again(err) {
			// The store is not to be had; the rest need not be tried.
			b.settle(all, failed(len(all), err))
			return
		}
	}
}

// again reports whether a touch that failed so may still be stored. One whose
// outcome is unknown may: it does no harm to do it twice.
func again(err error) bool {
	for _, e := range []error{
		state.ErrUnavailable, state.ErrUnknownOutcome, state.ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// settle takes note of what became of touches. store.mu is not held.
func (b *behind) settle(touches []*touch, results []state.Result) {
	if len(touches) == 0 {
		return
	}
	var lost []Lost
	b.store.mu.Lock()
	for i, t := range touches {
		if b.moving[t.op.Key] == t {
			delete(b.moving, t.op.Key)
		}
		err := results[i].Err
		if !again(err) {
			if err != nil {
				lost = append(lost, Lost{t.op, err})
			}
			continue
		}
		failed := *t
		failed.err = err
		if newer := b.pending[t.op.Key]; newer != nil {
			b.put(newer.over(&failed))
		} else {
			b.put(&failed)
		}
	}
	b.recount()
	b.store.mu.Unlock()
	b.report(lost)
}

func (b *behind) report(lost []Lost) {
	b.lost.Add(uint64(len(lost)))
	for _, l := range lost {
		b.opts.OnLost(l)
	}
}

// stop ends run.
func (b *behind) stop() {
	b.end()
	<-b.ended
}

// storeRest stores what is pending, or reports it lost. Nothing is added any
// more, and run has ended.
func (b *behind) storeRest() {
	ctx, cancel := context.WithTimeout(context.Background(), b.opts.CloseTimeout)
	defer cancel()
	for {
		b.flush(ctx)
		b.store.calls.Wait()
		if b.unstored.Load() == 0 {
			return
		}
		select {
		case <-ctx.Done():
			b.giveUp()
			return
		case <-time.After(retryInterval):
		}
	}
}

// giveUp reports everything that is pending as lost.
func (b *behind) giveUp() {
	b.store.mu.Lock()
	var lost []Lost
	for _, t := range b.pending {
		lost = append(lost, Lost{t.op, t.err})
	}
	clear(b.pending)
	b.recount()
	b.store.mu.Unlock()
	b.report(lost)
}

func (b *behind) count(st *Stats) {
	st.Deferred, st.Lost = b.deferred.Load(), b.lost.Load()
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	st.Pending = len(b.pending) + len(b.moving)
}
