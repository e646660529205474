package sqlite

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pollInterval is how often the hub looks for changes of other processes while
// anybody watches. Looking takes a few microseconds.
const pollInterval = 25 * time.Millisecond

// A hub brings changes to watchers, in the order of their commits. Those of
// this process come from the writer; if there are others before them it reads
// the table.
type hub struct {
	store *Store
	conn  *conn // used by run alone
	wake  chan struct{}
	quit  chan struct{}
	ended chan struct{}

	watched atomic.Int64 // number of watchers, so that the writer need not lock

	mu       sync.Mutex // guards what follows
	watchers map[*watcher]struct{}
	fresh    []change // from the writer, without holes

	pos int64 // up to which changes were delivered; used by run alone
}

// maxFresh bounds the changes that the writer leaves in memory.
const maxFresh = 4096

func (s *Store) startHub(ctx context.Context) error {
	c, err := s.connect(ctx, readerPragmas)
	if err != nil {
		return err
	}
	s.hub = &hub{
		store: s, conn: c,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		watchers: map[*watcher]struct{}{},
	}
	go s.hub.run()
	return nil
}

func (h *hub) close() error {
	close(h.quit)
	<-h.ended
	return h.conn.close()
}

// add begins a watch at the newest commit.
func (h *hub) add(ctx context.Context, w *watcher) error {
	// From here on the writer hands over what it commits.
	h.watched.Add(1)
	err := h.store.readers.read(ctx, func(c *conn) error {
		var err error
		w.from, err = c.int64(selectPosition)
		return err
	})
	if err != nil {
		h.watched.Add(-1)
		return err
	}
	h.mu.Lock()
	w.detach = context.AfterFunc(ctx, func() {
		w.cancelled.Store(true)
		h.alert()
	})
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	h.alert()
	return nil
}

// publish is called by the writer with the changes that it has committed, which
// stand behind the position before.
func (h *hub) publish(before int64, changes []change) {
	if h.watched.Load() == 0 {
		return
	}
	h.mu.Lock()
	if n := len(h.fresh); n+len(changes) > maxFresh || n > 0 && h.fresh[n-1].pos != before {
		h.fresh = nil // the table has them
	}
	h.fresh = append(h.fresh, changes...)
	h.mu.Unlock()
	h.alert()
}

func (h *hub) alert() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hub) run() {
	defer close(h.ended)
	defer h.dismissAll()
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	var next time.Time // of the next poll
	for {
		var poll <-chan time.Time
		if h.watched.Load() > 0 {
			timer.Reset(time.Until(next))
			poll = timer.C
		}
		select {
		case <-h.quit:
			return
		case <-h.wake:
			h.dismissCancelled()
		case <-poll:
		}
		// Waking up all the time must not keep it from polling.
		due := !time.Now().Before(next)
		if due {
			next = time.Now().Add(h.interval())
		}
		h.round(due)
	}
}

// interval is that of polling, or less for a watcher who wants beats oftener.
func (h *hub) interval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := pollInterval
	for w := range h.watchers {
		d = min(d, w.beat/4)
	}
	return max(d, time.Millisecond)
}

// round delivers what is new. If poll is set it looks into the table, and
// speaks to those who have heard nothing.
func (h *hub) round(poll bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := h.fresh
	h.fresh = nil
	if len(h.watchers) == 0 {
		h.pos = 0
		return
	}
	if h.pos == 0 {
		h.begin()
	}
	now := time.Now()
	if len(fresh) > 0 && fresh[0].pos <= h.pos+1 {
		h.deliver(fresh, now)
		fresh = nil
	}
	if !poll && len(fresh) == 0 {
		return
	}
	if err := h.readTable(now); err != nil {
		// No beat: who hears nothing assumes a gap.
		h.store.opts.Logger.Warn("cannot read changes for watches", "error", err)
		return
	}
	for w := range h.watchers {
		w.tick(now)
	}
}

// begin sets the position to that of the first watch.
func (h *hub) begin() {
	first := true
	for w := range h.watchers {
		if first || w.from < h.pos {
			h.pos = w.from
		}
		first = false
	}
}

// deliver gives changes that follow the position, or repeat what is before it,
// to the watchers.
func (h *hub) deliver(changes []change, now time.Time) {
	for i := range changes {
		ch := &changes[i]
		if ch.pos <= h.pos {
			continue
		}
		h.pos = ch.pos
		for w := range h.watchers {
			w.deliver(ch, now)
		}
	}
}

// maxRead is how many changes are read from the table at once.
const maxRead = 1024

func (h *hub) readTable(now time.Time) error {
	for {
		changes, err := h.conn.changesAfter(h.pos, maxRead)
		if err != nil || len(changes) == 0 {
			return err
		}
		if changes[0].pos != h.pos+1 { // trimmed
			for w := range h.watchers {
				w.gap = true
				w.tick(now)
			}
		}
		h.deliver(changes, now)
		if len(changes) < maxRead {
			return nil
		}
	}
}

func (h *hub) dismissCancelled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.cancelled.Load() {
			h.dismiss(w)
		}
	}
}

func (h *hub) dismissAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		h.dismiss(w)
	}
}

// dismiss ends a watch. h.mu is held.
func (h *hub) dismiss(w *watcher) {
	delete(h.watchers, w)
	h.watched.Add(-1)
	w.detach()
	close(w.out)
}
