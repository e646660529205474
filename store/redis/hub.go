package redis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/outlet"
)

// A hub hears the changes of one namespace for all of its watchers.
type hub struct {
	s         *Store
	namespace string
	cancel    context.CancelFunc
	hurry     chan struct{} // holds one token when the beat may be due sooner

	ready chan struct{} // closed when the first attempt to subscribe is over
	err   error         // of that attempt; written before ready is closed

	users int // watchers and those about to be; guarded by Store.hubsMu

	mu       sync.Mutex // guards all below
	watchers map[*outlet.Outlet]struct{}
	numbers  numbers
}

// join adds a watcher to the hub of its namespace, and makes the hub if it is
// the first. It returns when changes are heard.
func (s *Store) join(ctx context.Context, namespace string, w *outlet.Outlet) (*hub, error) {
	s.hubsMu.Lock()
	h := s.hubs[namespace]
	if h == nil {
		h = s.newHub(namespace)
	}
	h.users++
	s.hubsMu.Unlock()
	select {
	case <-h.ready:
		if h.err != nil {
			h.release()
			return nil, h.err
		}
	case <-ctx.Done():
		h.release()
		return nil, ctx.Err()
	}
	h.mu.Lock()
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	select {
	case h.hurry <- struct{}{}:
	default:
	}
	return h, nil
}

// newHub starts a hub; hubsMu is held.
func (s *Store) newHub(namespace string) *hub {
	ctx, cancel := context.WithCancel(s.ctx)
	h := &hub{
		s: s, namespace: namespace, cancel: cancel,
		hurry: make(chan struct{}, 1), ready: make(chan struct{}),
		watchers: make(map[*outlet.Outlet]struct{}),
	}
	s.hubs[namespace] = h
	s.pumps.Go(func() { h.run(ctx) })
	return h
}

// leave is the end of a watcher.
func (h *hub) leave(w *outlet.Outlet) {
	h.mu.Lock()
	delete(h.watchers, w)
	h.mu.Unlock()
	h.release()
}

// release ends the hub with its last user.
func (h *hub) release() {
	h.s.hubsMu.Lock()
	defer h.s.hubsMu.Unlock()
	h.users--
	if h.users > 0 {
		return
	}
	if h.s.hubs[h.namespace] == h {
		delete(h.s.hubs, h.namespace)
	}
	h.cancel()
}

// The pauses between attempts to subscribe again.
const (
	firstPause = 20 * time.Millisecond
	longPause  = time.Second
)

// run subscribes, and again whenever the connection is lost.
func (h *hub) run(ctx context.Context) {
	pause := firstPause
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := h.listen(ctx, attempt > 0)
		if !closed(h.ready) {
			h.abandon(err)
			return
		}
		if time.Since(began) > longPause {
			pause = firstPause
		}
		wait(ctx, pause)
		pause = min(2*pause, longPause)
	}
}

// abandon ends a hub that never heard anything, so that the next watch tries
// anew.
func (h *hub) abandon(err error) {
	h.s.hubsMu.Lock()
	if h.s.hubs[h.namespace] == h {
		delete(h.s.hubs, h.namespace)
	}
	h.s.hubsMu.Unlock()
	h.err = err
	close(h.ready)
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// listen subscribes and hears changes until the connection is lost.
func (h *hub) listen(ctx context.Context, again bool) error {
	lendCtx, cancel := context.WithTimeout(ctx, h.s.opts.ConnectTimeout)
	defer cancel()
	if err := h.s.lend(lendCtx); err != nil {
		return err
	}
	defer h.s.lent.Release(1)
	conn, giveBack := h.s.client.Dedicate()
	defer giveBack()
	h.reset()
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: h.hear})
	channel := h.s.channel(h.namespace)
	if err := conn.Do(ctx, conn.B().Subscribe().Channel(channel).Build()).Error(); err != nil {
		return fmt.Errorf("subscribe to changes: %w", readError(err))
	}
	known, err := h.ask(ctx)
	if err != nil {
		return err
	}
	h.begin(known, again)
	if !closed(h.ready) {
		close(h.ready)
	}
	return h.compareUntil(ctx, lost)
}

// reset forgets all numbers, since a new connection begins.
func (h *hub) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.numbers = numbers{}
}

// begin takes the numbers that were known after the subscription. What the
// watchers missed before it they are told as a Gap.
func (h *hub) begin(known [256]uint64, again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.numbers.begin(known, time.Now())
	if again {
		h.gap()
	}
}

// gap tells all watchers; mu is held.
func (h *hub) gap() {
	for w := range h.watchers {
		w.Gap()
	}
}

// hear takes a message. It is called by the connection and must be quick.
func (h *hub) hear(m rueidis.PubSubMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for message := m.Message; message != ""; {
		n, rest, ok := nextNotice(h.namespace, message)
		if !ok {
			h.gap()
			return
		}
		h.take(n)
		message = rest
	}
}

// take does what a notice asks for; mu is held.
func (h *hub) take(n notice) {
	switch h.numbers.hear(n.change.Key.Ref.Routing(), n.sequence) {
	case heardNext:
		for w := range h.watchers {
			w.Put(n.change)
		}
	case heardGap:
		h.gap()
	}
}

// compareUntil compares the numbers heard with those that the server knows,
// until the connection is lost.
func (h *hub) compareUntil(ctx context.Context, lost <-chan error) error {
	timer := time.NewTimer(h.interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case <-h.hurry:
			timer.Reset(h.interval())
			continue
		case <-timer.C:
		}
		h.compare(ctx)
		timer.Reset(h.interval())
	}
}

// interval is half of the shortest beat that a watcher wants.
func (h *hub) interval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	shortest := state.WatchOptions{}.Interval()
	for w := range h.watchers {
		shortest = min(shortest, w.Interval())
	}
	return max(shortest/2, time.Millisecond)
}

// compare asks for the numbers. If there is no answer there is no beat, and
// watchers will notice.
func (h *hub) compare(ctx context.Context) {
	h.mu.Lock()
	before := h.numbers.heard
	h.mu.Unlock()
	askCtx, cancel := context.WithTimeout(ctx, h.s.opts.Timeout)
	known, err := h.ask(askCtx)
	cancel()
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.numbers.compare(before, known, time.Now()) {
		h.gap()
	}
	for w := range h.watchers {
		w.Beat()
	}
}

// ask returns the last number of each tag.
func (h *hub) ask(ctx context.Context) (known [256]uint64, err error) {
	names := make([]string, len(known))
	for routing := range names {
		names[routing] = sequenceKey(h.s.tag(h.namespace, byte(routing)))
	}
	values, err := rueidis.MGet(h.s.client, ctx, names)
	if err != nil {
		return known, readError(err)
	}
	for routing, name := range names {
		m := values[name]
		if m.IsNil() {
			continue
		}
		n, err := m.AsUint64()
		if err != nil {
			return known, fmt.Errorf("read the numbers of changes: %w", state.ErrCorrupt)
		}
		known[routing] = n
	}
	return known, nil
}
