package cluster

import (
	"context"
	"time"
)

// Settle waits, after [ErrUndelivered], until it makes sense to read the
// session's record again: the member has lapsed, or is gone, or a moment has
// passed. Call it with a context that ends after [Node.Patience]; then, or if
// the store cannot be asked, it returns an error, and the client gets 503 with
// Retry-After.
func (n *Node) Settle(ctx context.Context, to Member) error {
	p, _ := n.view.find(to.Name)
	if p == nil {
		return nil
	}
	_, over := n.view.fate(p)
	if err := n.refresh(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(n.opts.beat() / 2)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
