package postgres_test

import (
	"net"
	"sync"
	"testing"
)

// A wire is a TCP proxy that can be cut in the middle of replies, or stop
// passing anything on without a word.
type wire struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu      sync.Mutex // guards all below
	conns   map[net.Conn]bool
	passing chan struct{} // closed while bytes pass
	cutIn   int           // replies of so many bytes more are passed on, then all is cut; less than 0: never
	refuse  bool
}

func newWire(t testing.TB, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, target: target, conns: map[net.Conn]bool{}, passing: make(chan struct{}), cutIn: -1}
	close(w.passing)
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.resume()
		w.cut()
		w.wg.Wait()
	})
	return w
}

func (w *wire) addr() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		refuse := w.refuse
		w.mu.Unlock()
		d, err := net.Dial("tcp", w.target)
		if err != nil || refuse {
			c.Close()
			if err == nil {
				d.Close()
			}
			continue
		}
		w.mu.Lock()
		w.conns[c], w.conns[d] = true, true
		w.mu.Unlock()
		w.wg.Go(func() { w.pass(d, c, false) })
		w.wg.Go(func() { w.pass(c, d, true) })
	}
}

func (w *wire) pass(to, from net.Conn, replies bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		passing := w.passing
		w.mu.Unlock()
		<-passing
		if replies && n > 0 {
			n = w.count(n)
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// count returns how many of n bytes of a reply still pass before the cut.
func (w *wire) count(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.cutIn < 0:
		return n
	case w.cutIn >= n:
		w.cutIn -= n
		return n
	}
	n, w.cutIn = w.cutIn, -1
	go w.cut()
	return n
}

// cutAfter cuts every connection after so many more bytes of replies.
func (w *wire) cutAfter(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutIn = n
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	clear(w.conns)
}

// stall stops passing bytes on, without closing anything.
func (w *wire) stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passing = make(chan struct{})
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.passing:
	default:
		close(w.passing)
	}
}
