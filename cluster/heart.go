package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An incarnation is one heartbeat record and the key that goes with it.
type incarnation struct {
	key  state.Key
	name string
	sign ed25519.PrivateKey
}

// A standing is the confirmation of an incarnation by its last heartbeat. It
// does not change: each heartbeat makes a new one.
type standing struct {
	*incarnation
	until time.Time     // confirmed until then, on this process's monotonic clock
	lost  chan struct{} // shared by standings that follow one another without a break

	store time.Time // the store's time
	asOf  time.Time // when it was that
}

// storeTime is the store's time at now, as well as this process knows.
func (s *standing) storeTime(now time.Time) time.Time { return s.store.Add(now.Sub(s.asOf)) }

// standing returns the current one, if the node is confirmed.
func (n *Node) standing() (*standing, error) {
	s := n.now.Load()
	switch {
	case s == nil:
		return nil, ErrClosed
	case !time.Now().Before(s.until):
		return nil, ErrUnconfirmed
	}
	return s, nil
}

// A heart is what the node keeps of its own heartbeats.
type heart struct {
	writing chan struct{} // holds one while the record is being written: one writes at a time

	mu      sync.Mutex // guards all below, and who replaces Node.now
	state   State
	version uint64        // of the record
	sent    time.Time     // when the last acknowledged heartbeat was sent
	vouched time.Duration // time of this process that heartbeats have vouched for, until sent
	timer   *time.Timer   // closes standing.lost
}

func (h *heart) acquire(ctx context.Context) error {
	select {
	case h.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *heart) release() { <-h.writing }

func (h *heart) noteVersion(version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version = version
}

// recordLifetime is how long a heartbeat record outlives its last heartbeat if
// nobody retires it. A store that was stopped for longer has forgotten all
// nodes, and each comes back as a new incarnation.
const recordLifetime = 24 * time.Hour

// longest is the greatest age of an incarnation.
const longest = 50 * 365 * 24 * time.Hour

// appear makes the node a new incarnation.
func (n *Node) appear(ctx context.Context, s State) error {
	inc, public, err := n.newIncarnation()
	if err != nil {
		return err
	}
	data, err := n.announcement(public, s).data()
	if err != nil {
		return err
	}
	n.view.claimName(inc.name)
	sent := time.Now()
	res, err := state.Do(ctx, n.store, state.CreateOp{
		Record: state.Record{Namespace: inc.key.Namespace, Kind: Kind, Ref: inc.key.Ref, User: nodeUser, Data: data},
		Idle:   recordLifetime, Lifetime: recordLifetime,
	})
	if err != nil {
		return fmt.Errorf("write the heartbeat record: %w", err)
	}
	n.acknowledged(inc, sent, res.Stamp)
	return nil
}

func (n *Node) newIncarnation() (*incarnation, ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	ref, err := state.NewRef(nodeRouting, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return &incarnation{
		key: state.Key{Namespace: n.opts.Namespace, Ref: ref}, name: ref.String(), sign: private,
	}, public, nil
}

// acknowledged notes a heartbeat that the store has acknowledged.
func (n *Node) acknowledged(inc *incarnation, sent time.Time, stamp state.Stamp) {
	h := &n.self
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	next := &standing{
		incarnation: inc, until: sent.Add(n.opts.confirmed()),
		store: stamp.LastAccessed, asOf: now,
	}
	last := n.now.Load()
	if last != nil && last.incarnation == inc && now.Before(last.until) {
		next.lost = last.lost
	} else {
		// The break may have been so short that no timer has seen it.
		closeOnce(last)
		next.lost = make(chan struct{})
	}
	h.vouched = h.vouchedUntil(sent, n.opts.beat())
	h.sent, h.version = sent, stamp.Version
	n.now.Store(next)
	if h.timer != nil {
		h.timer.Stop()
	}
	h.timer = time.AfterFunc(max(time.Until(next.until), soon), func() { n.expire(next) })
}

// vouchedUntil returns how much of this process's time up to t its heartbeats
// vouch for, if one sent at t is acknowledged. What is between two acknowledged
// heartbeats counts, but no more of it than a beat: the store may have stalled,
// and then nobody's heartbeats were stored. The caller holds h.mu.
func (h *heart) vouchedUntil(t time.Time, beat time.Duration) time.Duration {
	if h.sent.IsZero() {
		return 0
	}
	return h.vouched + min(max(t.Sub(h.sent), 0), beat)
}

// vouched returns the time over which silence of others counts: what acknowledged
// heartbeats have vouched for, and what it will be if one sent now is
// acknowledged.
func (n *Node) vouched() (sure, hoped time.Duration) {
	h := &n.self
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vouched, h.vouchedUntil(time.Now(), n.opts.beat())
}

// expire says that the node is not confirmed any more, if it still is not.
func (n *Node) expire(s *standing) {
	n.self.mu.Lock()
	current := n.now.Load() == s
	if current {
		closeOnce(s)
	}
	n.self.mu.Unlock()
	if current {
		n.log.Warn("heartbeat not confirmed: serving no sessions until it is", "member", s.name)
	}
}

// suspend ends the confirmation of an incarnation whose record is gone.
func (n *Node) suspend(s *standing) {
	n.self.mu.Lock()
	defer n.self.mu.Unlock()
	closeOnce(s)
	over := *s
	over.until = time.Time{}
	n.now.CompareAndSwap(s, &over)
}

// closeOnce closes what a standing has as its lost; the caller holds heart.mu.
func closeOnce(s *standing) {
	if s == nil {
		return
	}
	select {
	case <-s.lost:
	default:
		close(s.lost)
	}
}

// leave ends the standing and returns it; nil if there is none.
func (n *Node) leave() *standing {
	h := &n.self
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	s := n.now.Swap(nil)
	closeOnce(s)
	return s
}

// soon is the shortest time that a timer is set to. Ones that are due at once
// crash the race detector where time is faked: https://go.dev/issue/78156.
const soon = time.Millisecond

// beat sends heartbeats until Close. After one that failed the next comes
// sooner.
func (n *Node) beat() {
	timer := time.NewTimer(n.opts.beat())
	defer timer.Stop()
	for {
		select {
		case <-n.life.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		wait := n.opts.beat()
		if n.heartbeat() != nil {
			wait = n.opts.beat() / 4
		}
		timer.Reset(max(wait-time.Since(began), soon))
	}
}

// heartbeat extends the record: one write, which no store or wrapper answers
// before it is stored. If the record is gone, the node becomes a new
// incarnation.
func (n *Node) heartbeat() error {
	if err := n.self.acquire(n.life); err != nil {
		return err
	}
	defer n.self.release()
	ctx, cancel := context.WithTimeout(n.life, n.opts.beat())
	defer cancel()
	s := n.now.Load()
	sent := time.Now()
	res, err := state.Do(ctx, n.store, state.ExtendOp{Key: s.key, For: recordLifetime, Max: longest})
	if err == nil {
		n.acknowledged(s.incarnation, sent, res.Stamp)
		return nil
	}
	if errors.Is(err, state.ErrNotFound) {
		err = n.reappear(ctx, s, err)
	}
	if err != nil {
		n.stats.missed.Add(1)
		n.log.Debug("heartbeat failed", "error", err)
	}
	return err
}

// reappear makes the node a new incarnation because its record is gone.
func (n *Node) reappear(ctx context.Context, was *standing, why error) error {
	n.suspend(was)
	n.self.mu.Lock()
	current := n.self.state
	n.self.mu.Unlock()
	if err := n.appear(ctx, current); err != nil {
		return err
	}
	n.stats.reappeared.Add(1)
	n.log.Warn("this replica was retired while it was silent, and goes on under a new name",
		"was", was.name, "member", n.Name(), "reason", why)
	n.view.wake()
	return nil
}

// announceTries bounds how often announce starts anew because it does not know
// what its last try has written.
const announceTries = 3

// announce writes the state into the record.
func (n *Node) announce(ctx context.Context, to State) error {
	if err := n.self.acquire(ctx); err != nil {
		return err
	}
	defer n.self.release()
	n.self.mu.Lock()
	n.self.state = to // an incarnation that follows says so from the start
	version := n.self.version
	n.self.mu.Unlock()
	var err error
	for range announceTries {
		s := n.now.Load()
		if s == nil {
			return ErrClosed
		}
		var stamp state.Stamp
		if stamp, err = n.write(ctx, s, to, version); err == nil {
			n.self.noteVersion(stamp.Version)
			return nil
		}
		if !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknownOutcome) {
			break
		}
		r, readErr := n.store.Get(ctx, s.key)
		if readErr != nil {
			break
		}
		version = r.Version
	}
	if errors.Is(err, state.ErrNotFound) {
		return nil // the incarnation that follows will say it
	}
	return err
}

// write writes the record with a new state.
func (n *Node) write(ctx context.Context, s *standing, to State, version uint64) (state.Stamp, error) {
	data, err := n.announcement(s.sign.Public().(ed25519.PublicKey), to).data()
	if err != nil {
		return state.Stamp{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.beat())
	defer cancel()
	res, err := state.Do(ctx, n.store, state.UpdateOp{Key: s.key, Version: version, Data: data})
	return res.Stamp, err
}

func (n *Node) announcement(key ed25519.PublicKey, s State) *announcement {
	return &announcement{
		Advertise: n.opts.Advertise, Key: key, Version: n.opts.Version, State: s, Forward: headerVersion,
	}
}
