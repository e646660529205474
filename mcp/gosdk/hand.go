package gosdk

import (
	"context"
	"net/http"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// lookAgain is when a replica that has lost its standing looks whether it has
// one again.
const lookAgain = 50 * time.Millisecond

// handAfter is how many requests of a session have to come through one and the
// same other replica, and none otherwise, until it is handed over to that.
const handAfter = 16

// A sender is the replica through which the last requests of a session came,
// and how many in a row.
type sender struct {
	name string
	run  int
}

// cameThrough notes through which replica a request came; "" for directly.
func (l *live) cameThrough(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == "" || name != l.sender.name {
		l.sender = sender{name: name}
	}
	l.sender.run++
}

// comesThrough reports whether the requests of the session keep coming through
// that replica, and nothing of it would be disturbed by moving it there.
func (l *live) comesThrough(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return name != "" && l.sender.name == name && l.sender.run >= handAfter && !l.inUse() && l.asks == 0
}

// engaged reports whether a call or an unanswered question keeps the session
// here while this replica drains. Streams do not: their clients resume them
// elsewhere.
func (l *live) engaged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isEngaged()
}

func (l *live) isEngaged() bool { return l.calls > 0 || l.posts > 0 || l.asks > 0 }

// heir returns the name of the replica that is to have a session of ours
// instead of this one, or "": while this one drains, whoever forwarded the
// request or any other; otherwise the one through which its requests keep
// coming.
func (h *Handler) heir(r *http.Request, s *session.Session) string {
	l, from := h.live.get(s.Ref), cameFrom(r)
	if h.live.isClosed() {
		switch {
		case l != nil && l.engaged():
			return ""
		case from != "":
			return from
		}
		m, _ := h.another(r.Context())
		return m.Name
	}
	if l == nil {
		return ""
	}
	l.cameThrough(from)
	if l.comesThrough(from) {
		return from
	}
	return ""
}

// bequeath makes a quiet session of ours, or a free one, the heir's, and says
// so to whoever forwarded the request. If the session is not quiet after all,
// it is tried again.
func (h *Handler) bequeath(r *http.Request, s *session.Session, to string) error {
	if err := h.giveUp(r.Context(), s, to); err != nil {
		return err
	}
	if cameFrom(r) != "" {
		return cluster.ErrTake
	}
	return errElsewhere
}

func (h *Handler) giveUp(ctx context.Context, s *session.Session, to string) error {
	l := h.live.get(s.Ref)
	if l == nil {
		return h.giveAway(ctx, s.Ref, s.Epoch, to)
	}
	if err := wait(ctx, l.ready); err != nil {
		return err
	}
	if l.err != nil {
		return errElsewhere
	}
	flush, cancel := detached(ctx)
	defer cancel()
	if err := l.events.flush(flush); err != nil {
		return err
	}
	if !l.closeIf(func() bool { return !l.isEngaged() }) {
		return errElsewhere
	}
	return h.handOver(ctx, l, to)
}

// watchStanding closes what is live here whenever this replica stops being
// sure that the others count on it, until the Handler is closed.
func (h *Handler) watchStanding() {
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.opts.Cluster.Lost():
		}
		h.closeStranded()
		select {
		case <-h.ctx.Done():
			return
		case <-time.After(lookAgain):
		}
	}
}

// closeStranded closes the sessions that are live under a standing which was
// lost since, without a word to the store: others may take them over.
func (h *Handler) closeStranded() {
	for _, l := range h.live.all() {
		if l.stranded() {
			h.lose(l)
		}
	}
}

// stranded reports whether this replica has lost its standing since the
// session was made live.
func (l *live) stranded() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}
