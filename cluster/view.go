package cluster

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A peer is another incarnation, as long as its record is there.
type peer struct {
	// What does not change.
	key       state.Key
	name      string
	advertise string
	public    ed25519.PublicKey // nil: nothing of it is accepted
	burial    chan struct{}     // holds one while it is being retired
	outbox    *outbox
	inbox     inbox
	window    window // which of its headers were accepted

	// Guarded by view.mu.
	member   Member
	revision uint64
	version  uint64
	seen     time.Duration // what was vouched for when revision was first seen
	lapsed   bool
	over     chan struct{}      // closed when it has lapsed or is gone; made anew if it comes back
	life     context.Context    // of requests to it: ends when it lapses, or some time after it is gone
	end      context.CancelFunc // ends life
}

// revive begins the peer's life, at first or again. The caller holds view.mu.
func (p *peer) revive() {
	p.lapsed = false
	p.over = make(chan struct{})
	p.life, p.end = context.WithCancel(context.Background())
}

// lapse ends it. The caller holds view.mu.
func (p *peer) lapse() {
	p.lapsed = true
	close(p.over)
	p.end()
}

// A view is what a node knows of the others.
type view struct {
	mu      sync.Mutex // guards all below but woken
	peers   map[string]*peer
	gone    remembered // names whose records are not there any more
	mine    remembered // names of this process's own records
	self    *Member    // as the store has it
	next    *round     // the look that has not begun yet, if somebody waits for it
	current *round     // the one that has begun
	asked   time.Time  // when an unknown sender last made this node look
	stopped bool

	woken chan struct{} // has one if the next look is to begin at once
	grace time.Duration // for what is under way to a peer that has left
}

// A round is one look at the store, for those who wait for it.
type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func (v *view) start(grace time.Duration) {
	v.grace = grace
	v.peers = map[string]*peer{}
	v.woken = make(chan struct{}, 1)
}

// wake lets the next look begin at once.
func (v *view) wake() {
	select {
	case v.woken <- struct{}{}:
	default:
	}
}

// find returns the peer with a name, or whether it is known to be gone.
func (v *view) find(name string) (p *peer, gone bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p = v.peers[name]
	return p, p == nil && v.gone.has(name)
}

func (v *view) all() []*peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]*peer, 0, len(v.peers))
	for _, p := range v.peers {
		all = append(all, p)
	}
	return all
}

// mayAsk reports whether an unknown sender may make the node look at the store:
// once per interval.
func (v *view) mayAsk(interval time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if !v.asked.IsZero() && now.Sub(v.asked) < interval {
		return false
	}
	v.asked = now
	return true
}

// forget notes that there is no such record: since it is named by an owner, it
// was there once.
func (v *view) forget(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone.add(name)
}

// remove takes a retired peer out.
func (v *view) remove(p *peer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.peers[p.name] == p {
		v.drop(p)
	}
}

// drop takes a peer out. What is under way to one that was not silent may still
// end well, if it has left by itself: that gets some time. The caller holds
// v.mu.
func (v *view) drop(p *peer) {
	delete(v.peers, p.name)
	v.gone.add(p.name)
	if !p.lapsed {
		close(p.over)
		time.AfterFunc(v.grace, p.end)
	}
	p.outbox.close()
}

// show returns the peer as a Member.
func (v *view) show(p *peer) Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := p.member
	m.Lapsed = p.lapsed
	return m
}

// fate returns the life of a peer, and a channel that is closed when it has
// lapsed or is gone.
func (v *view) fate(p *peer) (life context.Context, over <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return p.life, p.over
}

func (v *view) members() []Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Member
	if v.self != nil {
		all = append(all, *v.self)
	}
	for _, p := range v.peers {
		m := p.member
		m.Lapsed = p.lapsed
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// close ends the view when its node has left.
func (v *view) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stopped = true
	for _, p := range v.peers {
		v.drop(p)
	}
	if v.next != nil {
		v.next.err = ErrClosed
		close(v.next.done)
		v.next = nil
	}
}

// refresh looks at the store and returns when that is done; a look that has
// begun already does not count. Callers who wait at the same time share one.
func (n *Node) refresh(ctx context.Context) error {
	v := &n.view
	v.mu.Lock()
	if v.stopped {
		v.mu.Unlock()
		return ErrClosed
	}
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	r := v.next
	v.mu.Unlock()
	v.wake()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for the look that has begun, or is about to, if there is one.
func (v *view) await(ctx context.Context) {
	v.mu.Lock()
	r := v.next
	if r == nil {
		r = v.current
	}
	v.mu.Unlock()
	if r == nil {
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// begin makes the next look the current one.
func (v *view) begin() *round {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.next = v.next, nil
	if v.current == nil {
		v.current = &round{done: make(chan struct{})}
	}
	return v.current
}

// watch looks at the store once per beat, when somebody asks, and when a member
// is about to lapse, until Close.
func (n *Node) watch() {
	timer := time.NewTimer(n.opts.beat())
	defer timer.Stop()
	for {
		select {
		case <-n.life.Done():
			return
		case <-timer.C:
		case <-n.view.woken:
		}
		r := n.view.begin()
		if n.nextLook() <= 0 {
			// A member may have lapsed. That needs a heartbeat that vouches
			// for the time until now.
			_ = n.heartbeat()
		}
		ctx, cancel := context.WithTimeout(n.life, n.opts.Timeout)
		err := n.look(ctx)
		cancel()
		if err != nil {
			n.log.Debug("could not look at the members", "error", err)
		}
		r.err = err
		close(r.done)
		// A member whose time does not run, because our own heartbeats fail,
		// must not be looked at all the time.
		timer.Reset(max(n.nextLook(), n.opts.beat()/8))
	}
}

// longGone is after how many timeouts of silence a member is retired although
// nobody needs its sessions.
const longGone = 20

// look reads the heartbeat records once.
func (n *Node) look(ctx context.Context) error {
	began, _ := n.vouched()
	records, err := nodeRecords(ctx, n.store, n.opts.Namespace)
	if err != nil {
		return err
	}
	_, ended := n.vouched()
	n.observe(records, began, ended)
	for _, p := range n.view.silentFor(began - longGone*n.opts.Timeout) {
		if err := n.retire(ctx, p, "it was silent for long"); err != nil {
			return err
		}
	}
	return nil
}

// silentFor returns the peers that were last heard of before the given time.
func (v *view) silentFor(since time.Duration) []*peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	var silent []*peer
	for _, p := range v.peers {
		if p.seen < since {
			silent = append(silent, p)
		}
	}
	return silent
}

// claimName notes a name as this process's own before there is a record, so
// that a look at the same time does not take it for another's.
func (v *view) claimName(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mine.add(name)
}

// observe compares what was read with what was known. Before the reading began
// the first of the times had been vouched for, when it ended at most the second.
func (n *Node) observe(records []state.Record, began, ended time.Duration) {
	v := &n.view
	self := n.Name()
	v.mu.Lock()
	defer v.mu.Unlock()
	there := make(map[string]bool, len(records))
	for i := range records {
		r := &records[i]
		name := r.Ref.String()
		there[name] = true
		if name == self {
			a := announced(r)
			m := memberOf(r, &a)
			m.Self = true
			v.self = &m
			continue
		}
		p := v.peers[name]
		switch {
		case p != nil:
			n.recognize(p, r, began, ended)
		case !v.mine.has(name):
			n.welcome(r, ended)
		}
	}
	for name, p := range v.peers {
		if !there[name] {
			v.drop(p)
			n.log.Info("a member has left", "member", name, "advertise", p.advertise)
		}
	}
}

// welcome takes a new peer in. The caller holds view.mu.
func (n *Node) welcome(r *state.Record, ended time.Duration) {
	a := announced(r)
	p := &peer{
		key: r.Key(), name: r.Ref.String(), advertise: a.Advertise, public: a.Key,
		burial: make(chan struct{}, 1),
		member: memberOf(r, &a), revision: r.Revision, version: r.Version,
		seen: ended,
	}
	p.revive()
	p.outbox = n.newOutbox(p)
	n.view.peers[p.name] = p
	n.log.Info("a member is there", "member", p.name, "advertise", p.advertise, "version", a.Version)
}

// recognize notes what a peer's record shows this time. The caller holds
// view.mu.
func (n *Node) recognize(p *peer, r *state.Record, began, ended time.Duration) {
	if r.Version != p.version {
		a := announced(r)
		p.version, p.member.State = r.Version, a.State
	}
	m := memberOf(r, &announcement{})
	p.member.LastSeen, p.member.Silent = m.LastSeen, m.Silent
	switch {
	case r.Revision != p.revision:
		p.revision, p.seen = r.Revision, ended
		if p.lapsed {
			p.revive()
			n.log.Info("a member is back", "member", p.name, "advertise", p.advertise)
		}
	case began-p.seen >= n.opts.Timeout && !p.lapsed:
		p.lapse()
		n.log.Warn("a member has lapsed: its sessions can be taken over", "member", p.name, "advertise", p.advertise)
	}
}

// nextLook returns when to look again: in a beat, or as soon as a member may
// have lapsed, which is at once if it is not positive.
func (n *Node) nextLook() time.Duration {
	wait := n.opts.beat()
	_, hoped := n.vouched()
	n.view.mu.Lock()
	defer n.view.mu.Unlock()
	for _, p := range n.view.peers {
		if !p.lapsed {
			wait = min(wait, p.seen+n.opts.Timeout-hoped)
		}
	}
	return wait
}

// A remembered set is the last names that were added, so many.
type remembered struct {
	names map[string]bool
	order []string // in a ring
	at    int
}

const maxRemembered = 1024

func (s *remembered) has(name string) bool { return s.names[name] }

func (s *remembered) add(name string) {
	if s.names[name] {
		return
	}
	if s.names == nil {
		s.names = map[string]bool{}
	}
	if len(s.order) < maxRemembered {
		s.order = append(s.order, name)
	} else {
		delete(s.names, s.order[s.at])
		s.order[s.at] = name
		s.at = (s.at + 1) % maxRemembered
	}
	s.names[name] = true
}
