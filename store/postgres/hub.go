package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A hub has the watchers of a store, and the listener while there are any.
type hub struct {
	store *Store
	ctx   context.Context // done when the store is closed
	stop  context.CancelFunc
	pumps sync.WaitGroup // watchers and listeners
	heard atomic.Int64   // when the server last gave a sign of life, since start
	start time.Time

	writes turnstile

	mu       sync.Mutex        // guards all below
	watchers map[*watcher]bool // false until it is admitted
	current  *listener         // nil without watchers
}

func newHub(s *Store) *hub {
	ctx, stop := context.WithCancel(context.Background())
	return &hub{store: s, ctx: ctx, stop: stop, start: time.Now(), watchers: make(map[*watcher]bool)}
}

func (h *hub) close() {
	h.stop()
	h.pumps.Wait()
}

// add registers a watcher and returns when the server notifies of whatever is
// acknowledged from then on.
func (h *hub) add(ctx context.Context, w *watcher) error {
	h.mu.Lock()
	h.watchers[w] = false
	l := h.current
	if l == nil {
		l = h.listen()
	}
	h.mu.Unlock()
	l.look()
	for {
		h.mu.Lock()
		admitted, err, news := h.watchers[w], l.err, l.news
		h.mu.Unlock()
		if admitted {
			// Of a write in progress the notification may have come already.
			if h.writes.drain(ctx) {
				return nil
			}
			h.remove(w)
			return context.Cause(ctx)
		}
		if err != nil {
			h.remove(w)
			return unavailable("listen for changes", err)
		}
		select {
		case <-news:
		case <-ctx.Done():
			h.remove(w)
			return fmt.Errorf("listen for changes: %w: %w", state.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// joining returns the watchers that are to be admitted.
func (h *hub) joining() []*watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*watcher
	for w, admitted := range h.watchers {
		if !admitted {
			all = append(all, w)
		}
	}
	return all
}

// admit lets watchers have what comes from now on.
func (h *hub) admit(l *listener, joining []*watcher) {
	if len(joining) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range joining {
		if _, there := h.watchers[w]; there {
			h.watchers[w] = true
		}
	}
	l.announce()
}

// remove ends the listener with the last watcher.
func (h *hub) remove(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	if len(h.watchers) == 0 && h.current != nil {
		h.current.stop()
		h.current = nil
	}
}

// broadcast gives a change to the watchers of its namespace; a Gap to all.
func (h *hub) broadcast(l *listener, changes ...state.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(l, changes...)
}

// tell is broadcast while h.mu is held.
func (h *hub) tell(l *listener, changes ...state.Change) {
	if h.current != l {
		return
	}
	for w, ready := range h.watchers {
		for _, c := range changes {
			if ready && (c.Type == state.Gap || c.Key.Namespace == w.namespace) {
				w.put(c)
			}
		}
	}
}

// note marks a sign of life of the server.
func (h *hub) note() { h.heard.Store(int64(time.Since(h.start))) }

// sign returns what a watcher is told while nothing happens: a Beat only if the
// server gave a sign of life.
func (h *hub) sign(interval time.Duration) state.ChangeType {
	h.mu.Lock()
	up := h.current != nil && h.current.up
	h.mu.Unlock()
	if up && time.Since(h.start)-time.Duration(h.heard.Load()) <= interval {
		return state.Beat
	}
	return state.Gap
}

// probe returns after how much silence the server is asked whether it is there.
func (h *hub) probe() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	least := time.Second
	for w := range h.watchers {
		least = min(least, w.interval)
	}
	return max(least/4, 5*time.Millisecond)
}

// A listener keeps a connection that listens, and opens another when it is
// lost.
type listener struct {
	hub  *hub
	ctx  context.Context
	stop context.CancelFunc
	kick chan struct{} // holds a token when the time between probes has changed

	// Guarded by hub.mu.
	up   bool
	err  error         // of the last attempt to connect, while not up
	news chan struct{} // closed when there is news for those who join
}

// listen starts a listener; h.mu is held.
func (h *hub) listen() *listener {
	ctx, stop := context.WithCancel(h.ctx)
	l := &listener{hub: h, ctx: ctx, stop: stop, kick: make(chan struct{}, 1), news: make(chan struct{})}
	h.current = l
	h.pumps.Go(l.run)
	return l
}

// look makes the listener look at the watchers' intervals again.
func (l *listener) look() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// reconnect bounds the time between two attempts.
const (
	reconnectFirst = 20 * time.Millisecond
	reconnectMost  = time.Second
)

func (l *listener) run() {
	wait := reconnectFirst
	for l.ctx.Err() == nil {
		conn, err := l.connect()
		l.set(err == nil, err)
		if err == nil {
			wait = reconnectFirst
			err = l.receive(conn)
			l.set(false, nil)
			l.hub.broadcast(l, state.Change{Type: state.Gap})
			disconnect(conn)
		}
		if l.ctx.Err() == nil {
			l.hub.store.opts.Logger.Warn("connection for changes lost", "error", err)
			pause(l.ctx, wait)
			wait = min(2*wait, reconnectMost)
		}
	}
}

// set notes how the attempt to connect ended, or that the connection did. With
// a connection, those who were there before have missed something, and those
// who come after have not.
func (l *listener) set(up bool, err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.up, l.err = up, err
	if up {
		l.hub.tell(l, state.Change{Type: state.Gap})
	}
	l.announce()
}

// announce has those who join look again. hub.mu is held.
func (l *listener) announce() {
	close(l.news)
	l.news = make(chan struct{})
}

func (l *listener) connect() (*pgx.Conn, error) {
	s := l.hub.store
	cfg := s.pool.Config()
	timeout := cfg.ConnConfig.ConnectTimeout
	if timeout <= 0 {
		timeout = s.opts.Timeout
	}
	// Each of several hosts has as long.
	ctx, cancel := context.WithTimeout(l.ctx, timeout*time.Duration(1+len(cfg.ConnConfig.Fallbacks)))
	defer cancel()
	if cfg.BeforeConnect != nil {
		if err := cfg.BeforeConnect(ctx, cfg.ConnConfig); err != nil {
			return nil, err
		}
	}
	if name := cfg.ConnConfig.RuntimeParams["application_name"]; name != "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = name + " watch"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		disconnect(conn)
		return nil, err
	}
	l.hub.note()
	return conn, nil
}

func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // of a connection that is no longer wanted
}

// receive takes notifications until the connection is lost or not wanted.
func (l *listener) receive(conn *pgx.Conn) error {
	for {
		probe := l.hub.probe()
		n, err := l.await(conn, probe)
		switch {
		case l.ctx.Err() != nil:
			return nil
		case err == nil:
			l.hub.note()
			l.notify(n.Payload)
		case conn.IsClosed():
			return err
		}
		joining := l.hub.joining()
		if err == nil && len(joining) == 0 {
			continue
		}
		// Silence: a connection that was cut without a word looks the same.
		// Or somebody joins: what was acknowledged before comes with the answer
		// at the latest, and is not theirs.
		if err := l.ping(conn, max(4*probe, 250*time.Millisecond)); err != nil {
			return err
		}
		l.hub.admit(l, joining)
	}
}

// ping asks the server for a sign of life, and takes what comes with it.
func (l *listener) ping(conn *pgx.Conn, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	err := conn.Ping(ctx)
	cancel() // from here on conn returns what it has, and waits for nothing
	if err != nil {
		return err
	}
	l.hub.note()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return nil
		}
		l.notify(n.Payload)
	}
}

// await waits for a notification, for some time or until kicked.
func (l *listener) await(conn *pgx.Conn, patience time.Duration) (n *pgconn.Notification, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	done := make(chan struct{})
	var kicked sync.WaitGroup
	kicked.Go(func() {
		select {
		case <-l.kick:
			cancel()
		case <-done:
		}
	})
	n, err = conn.WaitForNotification(ctx)
	close(done)
	kicked.Wait()
	return n, err
}

func (l *listener) notify(payload string) {
	changes, complete := parseChanges(payload)
	if !complete {
		changes = []state.Change{{Type: state.Gap}}
	}
	l.hub.broadcast(l, changes...)
}
