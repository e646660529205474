package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Node is this process among the replicas; see the package comment. Call
// [Join]. All methods may be called by any number of goroutines.
type Node struct {
	store state.Store
	opts  Options
	log   *slog.Logger

	now  atomic.Pointer[standing] // nil once the node has left
	view view
	self heart

	transport *http.Transport
	buffers   buffers
	forwards  chan struct{} // holds one for each request being forwarded
	sequence  atomic.Uint64 // numbers of the headers signed
	topics    topics
	stats     counters

	life  context.Context // until Close
	end   context.CancelFunc
	tasks sync.WaitGroup // heart, eyes and outboxes

	closing  sync.Once
	closeErr error
}

// Join makes this process a member: it writes its heartbeat record and reads
// those of the others, and from then on does so in goroutines of its own, until
// Close. A former incarnation that advertised the same URL, and was killed, is
// retired at once: two processes cannot listen there.
func Join(ctx context.Context, store state.Store, opts Options) (*Node, error) {
	opts, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	n := &Node{store: store, opts: opts, log: opts.Logger}
	n.life, n.end = context.WithCancel(context.Background())
	n.self.writing, n.self.state = make(chan struct{}, 1), Serving
	n.view.start(opts.Timeout)
	n.transport = newTransport(&n.opts)
	n.forwards = make(chan struct{}, opts.MaxForwards)
	if err := n.appear(ctx, Serving); err != nil {
		n.end()
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	if err := n.meet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("join the cluster: %w", err), n.Close())
	}
	n.tasks.Go(n.beat)
	n.tasks.Go(n.watch)
	return n, nil
}

// meet reads who is there, and retires who cannot be.
func (n *Node) meet(ctx context.Context) error {
	if err := n.look(ctx); err != nil {
		return err
	}
	for _, p := range n.view.all() {
		if p.advertise != n.opts.Advertise {
			continue
		}
		if err := n.retire(ctx, p, "this replica has its address now"); err != nil {
			return err
		}
	}
	return nil
}

// Name is the name of the current incarnation: what session records have as
// their owner. It changes when the node's record was removed while it was cut
// off. After Close it is empty.
func (n *Node) Name() string {
	if s := n.now.Load(); s != nil {
		return s.name
	}
	return ""
}

// Patience is how long to go on trying to reach the owner of a session: until
// then one that was killed has lapsed.
func (n *Node) Patience() time.Duration { return 2 * n.opts.Timeout }

// Confirmed reports whether the node may serve sessions: its last heartbeat was
// acknowledged so recently that no other takes it for gone. It looks at the
// clock and nothing else, so it is true of the moment, also for a process that
// has just been paused.
func (n *Node) Confirmed() bool {
	_, err := n.standing()
	return err == nil
}

// Silence is how long ago the last heartbeat was sent that the store has
// acknowledged: short as long as the store answers. It grows beyond the time in
// which the node is confirmed.
func (n *Node) Silence() time.Duration {
	h := &n.self
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.sent)
}

// Lost returns a channel that is closed when the node stops being confirmed, be
// it for a moment, and when it leaves. The channel belongs to the confirmation
// of now: taken before a [Node.Claim] and still open after it, it covers what
// was claimed. When it is closed, end what is live here without ending it in
// the store: others may take it over. For a node that is not confirmed it is
// closed.
func (n *Node) Lost() <-chan struct{} {
	s, err := n.standing()
	if err != nil {
		lost := make(chan struct{})
		close(lost)
		return lost
	}
	return s.lost
}

// Members says who is there, this node included, in the order of their names.
// It asks the store.
func (n *Node) Members(ctx context.Context) ([]Member, error) {
	if err := n.refresh(ctx); err != nil {
		return nil, err
	}
	return n.view.members(), nil
}

// Drain announces that the node is about to leave: the others hand it nothing
// any more. It goes on owning what it owns until it is released, or the node
// closed. It is one write.
func (n *Node) Drain(ctx context.Context) error {
	if err := n.announce(ctx, Draining); err != nil {
		return fmt.Errorf("announce the drain: %w", err)
	}
	return nil
}

// leaveTimeout is how long Close tries to remove the heartbeat record.
const leaveTimeout = 5 * time.Second

// Close leaves: what the node owns is free with one write, the removal of its
// record. What is live must have been put away before. Close waits for the
// node's goroutines; requests that are being forwarded it does not end. If the
// record cannot be removed the others will find it lapsed.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.end()
		n.tasks.Wait()
		s := n.leave()
		n.view.close()
		n.transport.CloseIdleConnections()
		if s == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		_, err := state.Do(ctx, n.store, state.DeleteOp{Key: s.key, Reason: reasonLeft, By: s.name})
		if err != nil {
			n.closeErr = fmt.Errorf("leave the cluster: %w", err)
		}
	})
	return n.closeErr
}
