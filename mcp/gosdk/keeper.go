package gosdk

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// tendAtOnce bounds how many live sessions the keeper asks the store about at
// the same time, so that their writes can share a commit.
const tendAtOnce = 16

// keep looks after live sessions until the Handler is closed.
func (h *Handler) keep() {
	ticker := time.NewTicker(h.tendInterval())
	defer ticker.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-ticker.C:
			h.tend(h.ctx, now)
		}
	}
}

// tendInterval is short against whatever is waited for.
func (h *Handler) tendInterval() time.Duration {
	shortest := min(h.opts.PassivateAfter, h.manager.Policy().TouchInterval)
	return min(max(shortest/4, 10*time.Millisecond), 5*time.Second)
}

// tend passivates sessions that are idle, notes the use of those that are not,
// and ends those whose time is over.
func (h *Handler) tend(ctx context.Context, now time.Time) {
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for _, l := range h.live.all() {
		select {
		case <-l.ready:
		default:
			continue // still activating
		}
		group.Go(func() error {
			h.tendOne(ctx, l, now)
			return nil
		})
	}
	_ = group.Wait() // they return none
}

func (h *Handler) tendOne(ctx context.Context, l *live, now time.Time) {
	if l.err != nil || l.isClosing() {
		return
	}
	if l.mayPassivate(now, h.opts.PassivateAfter) {
		if err := h.passivate(ctx, l, now, h.opts.PassivateAfter); err != nil {
			h.log.Warn("could not put an idle session away; it stays live", "ref", l.ref, "error", err)
		}
		return
	}
	l.events.tend(ctx, now)
	touch, check := l.due(now, h.manager.Policy().TouchInterval)
	var err error
	switch {
	case check:
		err = h.check(ctx, l, now)
	case touch:
		err = h.manager.Touch(ctx, l.ref, session.AtEpoch(l.epoch))
	}
	h.heed(l, err)
}

// heed closes a session of which the store has said that it is gone, or
// another replica's. It reports whether it did.
func (h *Handler) heed(l *live, err error) bool {
	switch {
	case errors.Is(err, session.ErrNotFound):
		h.end(l)
	case errors.Is(err, session.ErrFenced):
		h.lose(l)
	default:
		return false
	}
	return true
}

// due reports whether the record has to be told that the session is in use, and
// whether its absolute lifetime seems over. It notes that this is done.
func (l *live) due(now time.Time, interval time.Duration) (touch, check bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	check = !now.Before(l.deadline)
	if touch = l.inUse() && now.Sub(l.touched) >= interval; touch {
		l.touched = now
	}
	return touch, check
}

// check asks the store whether the session is still there and live here, and
// how long.
func (h *Handler) check(ctx context.Context, l *live, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	s, err := h.manager.Lookup(ctx, l.ref)
	if err != nil {
		return err
	}
	if s.Epoch != l.epoch {
		return &state.FencedError{Want: l.epoch, Have: s.Epoch, Owner: s.Owner}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = absolute(s, now)
	return nil
}

// passivate closes a session here that has been quiet for so long. What its
// client may still resume is stored first; if that fails, it stays live. A
// request that comes meanwhile is served by it, or waits and activates it anew.
func (h *Handler) passivate(ctx context.Context, l *live, now time.Time, quiet time.Duration) error {
	if err := l.events.flush(ctx); err != nil {
		return err
	}
	if !l.closeIf(func() bool { return l.quiet(now, quiet) }) {
		return nil
	}
	return h.handOver(ctx, l, "")
}
