package gosdk

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// watchSilence is when a watch that is silent counts as broken: three
	// beats of a second.
	watchSilence = 3 * time.Second
	// watchRetry is how long to wait before a broken watch is begun anew.
	watchRetry = 500 * time.Millisecond
)

// watch ends live sessions whose records end, by whichever process, until the
// Handler is closed. Requests do not depend on it, since each asks the store;
// open streams do.
func (h *Handler) watch() {
	for h.ctx.Err() == nil {
		if err := h.watchOnce(h.ctx); err != nil && h.ctx.Err() == nil {
			h.log.Warn("the watch of the session store broke, trying again", "error", err)
		}
		select {
		case <-h.ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

var errSilent = errors.New("no sign of life from the store")

// watchOnce watches until the watch breaks.
func (h *Handler) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := h.manager.Watch(ctx)
	if err != nil {
		return err
	}
	h.verify(ctx) // what ended before the watch began
	silence := time.NewTimer(watchSilence)
	defer silence.Stop()
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				return errors.New("the store ended the watch")
			}
			silence.Reset(watchSilence)
			h.changed(ctx, c)
		case <-silence.C:
			return errSilent
		}
	}
}

func (h *Handler) changed(ctx context.Context, c state.Change) {
	switch c.Type {
	case state.Gap:
		h.verify(ctx)
	case state.Deleted, state.Expired:
		if l := h.live.get(c.Key.Ref); l != nil {
			h.end(l)
		}
	case state.Updated:
		// Its lifetime or owner may have been changed: have the keeper look.
		if l := h.live.get(c.Key.Ref); l != nil {
			l.recheck()
		}
	}
}

func (l *live) recheck() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inUse() {
		l.deadline = time.Time{}
	}
}

// verify asks the store about every live session.
func (h *Handler) verify(ctx context.Context) {
	for _, l := range h.live.all() {
		select {
		case <-l.ready:
		default:
			continue // it reads the record itself
		}
		if l.err != nil {
			continue
		}
		if err := h.check(ctx, l, time.Now()); err != nil && !h.heed(l, err) {
			return // an outage: the next gap or watch verifies again
		}
	}
}
