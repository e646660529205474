package gosdk

import (
	"context"
	"errors"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A session is live in one replica at a time, its owner, which the record
// names; the epoch in the record numbers the ownerships. Whoever wants to make
// a session live raises the epoch first, and every write for a live session
// carries the epoch under which it was made live. So a former owner, which may
// not know yet that it is one, cannot write any more.

// errElsewhere: the session is live in another replica, or was a moment ago.
// Its record has to be read again.
var errElsewhere = errors.New("the session is live in another replica")

func (h *Handler) key(ref state.Ref) state.Key {
	return state.Key{Namespace: h.manager.Namespace(), Ref: ref}
}

// ownerName is what records of sessions that are live here say.
func (h *Handler) ownerName() string {
	if h.opts.Cluster == nil {
		return ""
	}
	return h.opts.Cluster.Name()
}

// owns reports whether the session may be live here.
func (h *Handler) owns(s *session.Session) bool {
	return h.opts.Cluster == nil || s.Owner != "" && s.Owner == h.opts.Cluster.Name()
}

// own makes this replica the owner of a session that has none, or whose owner
// is gone. If there is one, or another replica was quicker, it is errElsewhere.
func (h *Handler) own(ctx context.Context, s *session.Session) error {
	if h.owns(s) {
		return nil
	}
	place, err := h.opts.Cluster.Locate(ctx, s.Owner)
	if err != nil {
		return err
	}
	if place.Where != cluster.Free {
		return errElsewhere
	}
	epoch, err := h.opts.Cluster.Claim(ctx, h.key(s.Ref), s.Epoch)
	if errors.Is(err, state.ErrFenced) {
		return errElsewhere
	}
	if err != nil {
		return err
	}
	s.Owner, s.Epoch = h.ownerName(), epoch
	return nil
}

// handOver closes a session here, which has been marked as closing, and makes
// it another replica's: "" for whichever is asked for it next. Requests that
// wait for the closing find the new owner. If the store cannot be told, the
// session stays this replica's, and is activated here by its next request.
func (h *Handler) handOver(ctx context.Context, l *live, to string) error {
	l.conn.cut()
	l.events.stop()
	err := h.giveAway(ctx, l.ref, l.epoch, to)
	h.release(l)
	h.spawn(func() { _ = l.ss.Close() }) // its error concerns a transport that is gone
	return err
}

// giveAway makes a session that is not live here another replica's.
func (h *Handler) giveAway(ctx context.Context, ref state.Ref, epoch uint64, to string) error {
	if h.opts.Cluster == nil {
		return nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	_, err := state.Do(ctx, h.manager.Store(), state.SetOwnerOp{Key: h.key(ref), Epoch: epoch, Owner: to})
	if errors.Is(err, state.ErrFenced) || errors.Is(err, state.ErrNotFound) {
		return nil // it is another's already, or nobody's for ever
	}
	return err
}
