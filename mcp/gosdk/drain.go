package gosdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// ErrCut is returned by [Handler.Drain] if calls were still running when its
// context ended: they were cancelled.
var ErrCut = errors.New("calls were still running")

// Quiesce is the first half of [Handler.Drain]: from now on new requests are
// answered with 503 and Retry-After, but for the answers that running calls
// wait for, and Quiesce returns when those calls have ended. If ctx is done
// before, it is [ErrCut].
//
// Streams stay open. So a server closes its listener between Quiesce and
// Drain: clients whose streams end then are refused a connection and try
// again, where some give up at a 503.
func (h *Handler) Quiesce(ctx context.Context) error {
	h.live.close()
	h.sessionless.close()
	if h.awaitCalls(ctx) {
		return fmt.Errorf("drain: %w", ErrCut)
	}
	return nil
}

// Drain ends service without ending a session, so that another process, or
// the next one here, goes on with all of them. It lets running calls end until
// ctx is done (see [Handler.Quiesce]; with a call still running then, it goes
// on and returns [ErrCut]), stores what clients may still resume, and closes
// all streams.
func (h *Handler) Drain(ctx context.Context) error {
	cut := h.Quiesce(ctx)
	h.sessionless.expel()
	h.awaitArrivals(ctx)

	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for _, l := range h.live.all() {
		group.Go(func() error { return h.drainOne(l) })
	}
	return errors.Join(cut, group.Wait())
}

func (h *Handler) drainOne(l *live) error {
	<-l.ready
	if l.err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	err := l.events.flush(ctx)
	if l.closeIf(always) {
		h.close(l)
	}
	if err != nil {
		return fmt.Errorf("store events of session %s: %w", l.ref, err)
	}
	return nil
}

// drainPoll is how often a drain looks whether calls are still running.
const drainPoll = 5 * time.Millisecond

// awaitCalls waits until no call is running, and reports whether ctx ended
// before.
func (h *Handler) awaitCalls(ctx context.Context) (cut bool) {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for h.callsRunning() {
		select {
		case <-ctx.Done():
			return true
		case <-ticker.C:
		}
	}
	select {
	case <-ctx.Done():
		return true
	case <-h.sessionless.empty:
		return false
	}
}

// arrivalGrace is how long a drain waits for requests that have just arrived.
// One that takes longer sends its body slowly, and is told to come back.
const arrivalGrace = 2 * time.Second

// awaitArrivals waits for requests of which nobody knows yet where they belong:
// they are looking for their session. Those that come to another replica's are
// forwarded, which nobody can do any more who has left the cluster.
func (h *Handler) awaitArrivals(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.grace)
	defer cancel()
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for h.arrivals.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (h *Handler) callsRunning() bool {
	if h.passing.Load() > 0 {
		return true
	}
	for _, l := range h.live.all() {
		if l.busy() {
			return true
		}
	}
	return false
}

// admittedWhileDraining reports whether a POST is served all the same: one that
// running calls may wait for, an answer or a notification of a session that has
// some.
func (h *Handler) admittedWhileDraining(s *session.Session, m *streamable.Message) bool {
	if h.keptWhileDraining(s) {
		return true
	}
	if m.Batch || m.Call() {
		return false
	}
	l := h.live.get(s.Ref)
	return l != nil && l.running()
}

// keptWhileDraining reports whether every request of the session is served
// until its calls have ended: in a cluster, since no other replica can serve
// them meanwhile. What is quiet goes to one of those.
func (h *Handler) keptWhileDraining(s *session.Session) bool {
	if h.opts.Cluster == nil {
		return false
	}
	l := h.live.get(s.Ref)
	return l != nil && l.engaged()
}

// closeTimeout is how long Close waits for calls that were cancelled.
const closeTimeout = 10 * time.Second

// Close ends service at once, as Drain does with a context that is done, and
// waits for what runs in the background. A call that goes on although its
// context was cancelled is [ErrCut] after ten seconds. The Manager and the
// stores are not closed.
func (h *Handler) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := h.Drain(ctx)
	h.stop()
	h.servers.close()
	if !h.tasks.wait(closeTimeout) {
		return errors.Join(err, fmt.Errorf("close: %w", ErrCut))
	}
	if errors.Is(err, ErrCut) {
		return nil
	}
	return err
}
