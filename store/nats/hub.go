package nats

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// graceOfChange is how long a change that a leader has may take to be heard.
const graceOfChange = 2 * time.Second

// A hub hears the changes of all streams for all watchers.
type hub struct {
	s      *Store
	sub    *natsgo.Subscription
	cancel context.CancelFunc
	users  int           // guarded by Store.hubTurn
	hurry  chan struct{} // holds one token when a beat may be due sooner

	mu       sync.Mutex // guards all below
	watchers map[*watcher]struct{}
	streams  []heard
}

// heard is what a hub knows of a stream.
type heard struct {
	begun bool
	name  string   // of the stream, which numbers; another has taken its place if that changes
	early []uint64 // heard before the first number was known
	last  uint64   // up to this number everything was heard, or a Gap told
	owed  uint64   // a number that the leader has given
	since time.Time
}

func (s *Store) takeHub(ctx context.Context) error {
	select {
	case s.hubTurn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds a watcher, and makes the hub for the first. It returns when changes
// are heard.
func (s *Store) join(ctx context.Context, w *watcher) (*hub, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	if err := s.takeHub(ctx); err != nil {
		return nil, err
	}
	defer func() { <-s.hubTurn }()
	h := s.hub
	if h == nil {
		made, err := s.newHub(ctx)
		if err != nil {
			return nil, err
		}
		h = made
	}
	lasts, err := h.lasts(ctx)
	if err != nil {
		if s.hub == nil {
			_ = h.sub.Unsubscribe() // nobody has heard of it
		}
		return nil, err
	}
	for _, l := range lasts {
		w.floors = append(w.floors, l.seq)
	}
	if s.hub == nil {
		h.begin(lasts)
		run, stop := context.WithCancel(s.ctx)
		h.cancel, s.hub = stop, h
		s.pumps.Go(func() { h.run(run) })
	}
	h.users++
	h.mu.Lock()
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	select {
	case h.hurry <- struct{}{}:
	default:
	}
	return h, nil
}

func (s *Store) newHub(ctx context.Context) (*hub, error) {
	h := &hub{
		s: s, hurry: make(chan struct{}, 1), watchers: make(map[*watcher]struct{}),
		streams: make([]heard, s.opts.Streams),
	}
	sub, err := s.conn.Subscribe(s.opts.Name+"-changes.>", h.hear)
	if err != nil {
		return nil, unavailable("subscribe to", err)
	}
	h.sub = sub
	if err := s.conn.FlushWithContext(ctx); err != nil {
		_ = sub.Unsubscribe() // nobody has heard of it
		return nil, unavailable("subscribe to", err)
	}
	return h, nil
}

// leave is the end of a watcher, and of the hub with the last.
func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	delete(h.watchers, w)
	h.mu.Unlock()
	h.s.hubTurn <- struct{}{}
	defer func() { <-h.s.hubTurn }()
	if h.users--; h.users == 0 {
		h.s.hub = nil
		h.cancel()
		_ = h.sub.Unsubscribe() // fails with a connection that is closed
	}
}

// A mark is the last number of a stream.
type mark struct {
	name string
	seq  uint64
}

// lasts asks the leaders for the last number of each stream.
func (h *hub) lasts(ctx context.Context) ([]mark, error) {
	lasts, errs := make([]mark, len(h.streams)), make([]error, len(h.streams))
	var wg sync.WaitGroup
	for i := range lasts {
		wg.Go(func() {
			info, err := h.s.infoOfHeard(ctx, i)
			if err != nil {
				errs[i] = err
				return
			}
			lasts[i] = mark{info.Config.Name, info.State.LastSeq}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
	}
	return lasts, nil
}

// begin takes the first numbers.
func (h *hub) begin(lasts []mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.streams {
		st := &h.streams[i]
		st.begun, st.name, st.last = true, lasts[i].name, lasts[i].seq
		for _, seq := range st.early {
			if seq > st.last {
				st.owed, st.since = max(st.owed, seq), time.Now() // lost: a Gap will be told
			}
		}
		st.early = nil
	}
}

// hear takes a message that a stream published again.
func (h *hub) hear(m *natsgo.Msg) {
	subject := m.Header.Get("Nats-Subject")
	first, _, _ := strings.Cut(subject, ".")
	i, err := strconv.Atoi(strings.TrimPrefix(first, h.s.opts.Name+"-"))
	seq, err2 := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || err2 != nil || i < 0 || i >= len(h.streams) {
		h.gap() // somebody else's message
		return
	}
	st := &h.streams[i]
	if !st.begun {
		st.early = append(st.early, seq)
		return
	}
	if name := m.Header.Get("Nats-Stream"); name != st.name {
		h.restart(i, mark{name, seq - 1})
	}
	if seq <= st.last {
		return
	}
	if seq != st.last+1 {
		h.gap()
	}
	st.last = seq
	if text := m.Header.Get(changeHeader); text != "" {
		h.tell(i, seq, subject, text)
	}
}

// tell tells the watchers of a namespace of a change; mu is held.
func (h *hub) tell(stream int, seq uint64, subject, text string) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[1] != "r" {
		h.gap()
		return
	}
	ref, err := state.ParseRef(parts[4])
	namespace := strings.ReplaceAll(parts[2], "/", ".")
	c, ok := parseChange(state.Key{Namespace: namespace, Ref: ref}, text)
	if err != nil || !ok {
		h.gap()
		return
	}
	for w := range h.watchers {
		if w.namespace == namespace && seq > w.floors[stream] {
			w.Put(c)
		}
	}
}

// gap tells all watchers; mu is held.
func (h *hub) gap() {
	for w := range h.watchers {
		w.Gap()
	}
}

// restart goes on behind the last number of a stream that counts differently than
// before; mu is held. What was heard, and what was not, is void.
func (h *hub) restart(i int, last mark) {
	h.gap()
	h.streams[i] = heard{begun: true, name: last.name, last: last.seq}
	for w := range h.watchers {
		w.floors[i] = 0
	}
}

// run compares what was heard with what the leaders have, until the context is
// done.
func (h *hub) run(ctx context.Context) {
	timer := time.NewTimer(h.interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.hurry:
		case <-timer.C:
			h.compare(ctx)
		}
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
	return max(shortest/2, 5*time.Millisecond)
}

// compare asks for the last numbers. If there is no answer there is no beat,
// and watchers will notice.
func (h *hub) compare(ctx context.Context) {
	h.mu.Lock()
	before := make([]mark, len(h.streams))
	for i := range before {
		before[i] = mark{h.streams[i].name, h.streams[i].last}
	}
	h.mu.Unlock()
	lasts, err := h.lasts(ctx)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, last := range lasts {
		switch {
		case last.name != before[i].name && last.name != h.streams[i].name, // a mirror was promoted
			last.name == before[i].name && last.seq < before[i].seq: // the servers have lost what was heard
			h.restart(i, last)
		}
		if last.name == h.streams[i].name {
			h.streams[i].compare(last.seq, time.Now(), h.gap)
		}
	}
	for w := range h.watchers {
		w.Beat()
	}
}

// compare notes which number the leader has given.
func (st *heard) compare(last uint64, now time.Time, gap func()) {
	if st.owed > st.last && now.Sub(st.since) > graceOfChange {
		// What was given does not come.
		gap()
		st.last, st.owed = max(st.last, st.owed), 0
	}
	if st.owed <= st.last {
		st.owed, st.since = last, now
	}
}
