package gosdk

// end closes a session whose record is gone: its streams end and its calls are
// cancelled at once, and what comes for it is 404.
func (h *Handler) end(l *live) { h.drop(l, true) }

// lose closes a session here that is live elsewhere now, or may be. Its record
// stays, and nothing more is written by this activation.
func (h *Handler) lose(l *live) { h.drop(l, false) }

func (h *Handler) drop(l *live, ended bool) {
	l.mu.Lock()
	already := l.closing
	l.closing, l.ended = true, l.ended || ended
	l.mu.Unlock()
	if already {
		return // whoever closes it releases it
	}
	select {
	case <-l.ready:
		if l.err == nil {
			// What may take a while, the goroutine does.
			l.conn.cut()
			h.live.remove(l)
		}
	default:
	}
	h.spawn(func() {
		<-l.ready
		if l.err == nil {
			h.close(l)
		}
	})
}

// close disconnects a session that has been marked as closing: its streams end
// and its calls are cancelled. It does not wait for them; the tasks of h do.
func (h *Handler) close(l *live) {
	l.conn.cut()
	l.events.stop()
	h.release(l)
	h.spawn(func() { _ = l.ss.Close() }) // its error concerns a transport that is gone
}

// release lets the session be activated anew.
func (h *Handler) release(l *live) {
	h.live.remove(l)
	close(l.gone)
}
