package testkit

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy stands before a server, on a port of its own, and disturbs what
// passes. At first it disturbs nothing.
type Proxy struct {
	target   string
	listener net.Listener
	every    atomic.Int64
	delay    atomic.Int64
	drops    atomic.Bool
	refuses  atomic.Bool
	cuts     atomic.Int64

	mu    sync.Mutex // guards all below
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// NewProxy returns a proxy that ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Addr is the host and port where clients find it.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// CutReplies breaks a connection in the middle of about each so many replies.
func (p *Proxy) CutReplies(every int64) { p.every.Store(every) }

// Cuts is how many replies were cut.
func (p *Proxy) Cuts() int64 { return p.cuts.Load() }

// DelayReplies lets each wait for so long.
func (p *Proxy) DelayReplies(d time.Duration) { p.delay.Store(int64(d)) }

// DropReplies swallows them, and leaves the connections be.
func (p *Proxy) DropReplies() { p.drops.Store(true) }

// Break breaks the connections that there are.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Cut breaks the connections that there are and refuses others.
func (p *Proxy) Cut() {
	p.refuses.Store(true)
	p.Break()
}

// Calm lets everything pass from now on.
func (p *Proxy) Calm() {
	p.every.Store(0)
	p.delay.Store(0)
	p.drops.Store(false)
	p.refuses.Store(false)
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			near.Close()
			continue
		}
		p.join(near, far)
	}
}

func (p *Proxy) join(near, far net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses.Load() {
		near.Close()
		far.Close()
		return
	}
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.wg.Go(func() { p.pass(far, near, func(b []byte) ([]byte, bool) { return b, true }) })
	p.wg.Go(func() { p.pass(near, far, p.disturb) })
}

// pass moves bytes until either end is closed, or alter says that it is over.
func (p *Proxy) pass(to, from net.Conn, alter func([]byte) ([]byte, bool)) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			b, more := alter(buf[:n])
			if _, err := to.Write(b); err != nil || !more {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// disturb returns what passes of a reply, and whether the connection lives on.
func (p *Proxy) disturb(b []byte) ([]byte, bool) {
	if d := p.delay.Load(); d > 0 {
		time.Sleep(time.Duration(d))
	}
	if p.drops.Load() {
		return nil, true
	}
	if every := p.every.Load(); every > 0 && rand.Int64N(every) == 0 {
		p.cuts.Add(1)
		return b[:rand.IntN(len(b))], false
	}
	return b, true
}
