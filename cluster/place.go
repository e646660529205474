package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Where says in which replica a session is live.
type Where int

const (
	// Free: nowhere. Whoever needs it claims it.
	Free Where = iota + 1
	// Here: in this node, under its current name, or it was until it was put
	// away without being released.
	Here
	// Elsewhere: in the member that [Place] names.
	Elsewhere
)

func (w Where) String() string {
	switch w {
	case Free:
		return "free"
	case Here:
		return "here"
	case Elsewhere:
		return "elsewhere"
	}
	return "unknown"
}

// A Place is the answer to where a session is live.
type Place struct {
	Where  Where
	Member Member // if Elsewhere
}

// Locate says where a session is live whose record has the given owner. The
// record must have been read before. It answers from what the node knows, and
// asks the store only of owners that it does not know, and to retire one that
// has lapsed. When this node is not confirmed it is [ErrUnconfirmed].
func (n *Node) Locate(ctx context.Context, owner string) (Place, error) {
	s, err := n.standing()
	if err != nil {
		return Place{}, err
	}
	switch owner {
	case "":
		return Place{Where: Free}, nil
	case s.name:
		return Place{Where: Here}, nil
	}
	p, gone := n.view.find(owner)
	if p == nil && !gone {
		if err := n.refresh(ctx); err != nil {
			return Place{}, err
		}
		if p, _ = n.view.find(owner); p == nil {
			n.view.forget(owner)
		}
	}
	if p == nil {
		return Place{Where: Free}, nil
	}
	if m := n.view.show(p); !m.Lapsed {
		return Place{Where: Elsewhere, Member: m}, nil
	}
	return n.bury(ctx, p)
}

// bury retires a member that has lapsed, unless it has come back since.
func (n *Node) bury(ctx context.Context, p *peer) (Place, error) {
	select {
	case p.burial <- struct{}{}: // one caller does it for all
		defer func() { <-p.burial }()
	case <-ctx.Done():
		return Place{}, ctx.Err()
	}
	if err := n.refresh(ctx); err != nil {
		return Place{}, err
	}
	current, _ := n.view.find(p.name)
	if current == nil {
		return Place{Where: Free}, nil
	}
	if m := n.view.show(current); !m.Lapsed {
		return Place{Where: Elsewhere, Member: m}, nil
	}
	if err := n.retire(ctx, current, "its heartbeats have stopped"); err != nil {
		return Place{}, err
	}
	return Place{Where: Free}, nil
}

// retire ends an incarnation: its record goes, and all that it owned is free.
func (n *Node) retire(ctx context.Context, p *peer, why string) error {
	_, err := state.Do(ctx, n.store, state.DeleteOp{
		Key: p.key, Reason: reasonRetired, By: n.Name(),
	})
	if err != nil {
		return fmt.Errorf("retire member %s: %w", p.name, err)
	}
	n.log.WarnContext(ctx, "retired a member", "member", p.name, "advertise", p.advertise, "why", why)
	n.view.remove(p)
	return nil
}

// reasonRetired is why a heartbeat record ended that another node removed;
// reasonLeft, that its own did.
const (
	reasonRetired state.Reason = "retired"
	reasonLeft    state.Reason = "left"
)

// Claim makes this node the owner of a record whose epoch is the given one, and
// returns the new epoch, which every write for the session must carry from then
// on. If somebody else was faster it is [state.ErrFenced]: read the record
// again.
//
// A node may claim what it owns already, to be sure that nothing it began
// before is written any more. What was taken from [Node.Lost] before the claim
// says when it no longer counts.
func (n *Node) Claim(ctx context.Context, key state.Key, epoch uint64) (uint64, error) {
	s, err := n.standing()
	if err != nil {
		return 0, err
	}
	res, err := state.Do(ctx, n.store, state.SetOwnerOp{Key: key, Epoch: epoch, Owner: s.name})
	claimed := res.Stamp.Epoch
	if errors.Is(err, state.ErrUnknownOutcome) {
		claimed, err = n.claimed(ctx, key, epoch, s.name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("claim session %s: %w", key.Ref, err)
	}
	if now, err := n.standing(); err != nil || now.name != s.name {
		return 0, fmt.Errorf("claim session %s: %w", key.Ref, ErrUnconfirmed)
	}
	return claimed, nil
}

// claimed finds out whether a claim was stored whose answer was lost: nobody
// else writes this node's name.
func (n *Node) claimed(ctx context.Context, key state.Key, epoch uint64, name string, lost error) (uint64, error) {
	r, err := n.store.Get(ctx, key)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return 0, err
	case err != nil:
		return 0, errors.Join(lost, err)
	case r.Owner == name && r.Epoch == epoch+1:
		return r.Epoch, nil
	case r.Epoch != epoch:
		return 0, &state.FencedError{Want: epoch, Have: r.Epoch, Owner: r.Owner}
	}
	return 0, lost
}

// Release gives a record up that this node owns in the given epoch, so that
// whoever gets its next request may claim it. It is no error if the node does
// not own it any more.
func (n *Node) Release(ctx context.Context, key state.Key, epoch uint64) error {
	_, err := state.Do(ctx, n.store, state.SetOwnerOp{Key: key, Epoch: epoch})
	if errors.Is(err, state.ErrFenced) || errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release session %s: %w", key.Ref, err)
	}
	return nil
}
