package redis_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between a store and a server, and breaks connections.
type proxy struct {
	target string
	every  atomic.Int64 // breaks a connection in the middle of about each so many replies; zero: none
	drops  atomic.Bool  // replies are swallowed
	cuts   atomic.Int64

	mu    sync.Mutex // guards all below
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// newProxy returns a proxy that ends with the test.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, conns: map[net.Conn]struct{}{}}
	t.Cleanup(func() {
		p.cutAll()
		p.wg.Wait()
	})
	return p
}

// dial is for redis.Options.Dial.
func (p *proxy) dial(ctx context.Context, _ string) (net.Conn, error) {
	var d net.Dialer
	server, err := d.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return nil, err
	}
	near, far := tcpPair()
	p.mu.Lock()
	p.conns[server], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	p.wg.Go(func() { p.copy(server, far, false) })
	p.wg.Go(func() { p.copy(far, server, true) })
	return near, nil
}

// tcpPair returns two ends of a connection over the loopback interface.
func tcpPair() (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		accepted <- c
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	return near, <-accepted
}

// copy moves bytes until either end is closed.
func (p *proxy) copy(to, from net.Conn, replies bool) {
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
		if n > 0 && replies {
			if p.drops.Load() {
				continue
			}
			if every := p.every.Load(); every > 0 && rand.Int64N(every) == 0 {
				p.cuts.Add(1)
				_, _ = to.Write(buf[:rand.IntN(n)])
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cutAll breaks all connections.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// calm lets connections live from now on.
func (p *proxy) calm() { p.every.Store(0); p.drops.Store(false) }
