package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// A letter is a message on its way to a member.
type letter struct {
	topic   string
	payload []byte
}

func (l *letter) size() int { return letterFixed + len(l.topic) + len(l.payload) }

// An outbox holds what is to be told to one member, and tells it, one batch
// after the other.
type outbox struct {
	node *Node
	peer *peer
	life context.Context // until the outbox is closed, or the node
	end  context.CancelFunc

	mu      sync.Mutex // guards all below
	letters []letter   // the first has the number first
	first   uint64     // starts beyond that of an earlier outbox for the same peer
	bytes   int

	ready chan struct{} // has one if there is something new
}

// newOutbox makes the outbox of a new peer and starts telling it. The first
// batch is empty: it makes the peer know this node, if it has joined just now.
func (n *Node) newOutbox(p *peer) *outbox {
	o := &outbox{node: n, peer: p, first: uint64(time.Now().UnixNano()), ready: make(chan struct{}, 1)}
	o.life, o.end = context.WithCancel(n.life)
	o.ready <- struct{}{}
	n.tasks.Go(o.run)
	return o
}

// add puts a letter in, and drops the oldest if there are too many.
func (o *outbox) add(l letter) {
	o.mu.Lock()
	if o.life.Err() != nil {
		o.mu.Unlock()
		return
	}
	o.letters = append(o.letters, l)
	o.bytes += l.size()
	for len(o.letters) > outboxMessages || o.bytes > outboxBytes {
		o.shift(1)
		o.node.stats.dropped.Add(1)
	}
	o.mu.Unlock()
	o.wake()
}

// shift takes the oldest letters out. The caller holds o.mu.
func (o *outbox) shift(n int) {
	for i := range o.letters[:n] {
		o.bytes -= o.letters[i].size()
		o.letters[i] = letter{}
	}
	o.letters = o.letters[n:]
	o.first += uint64(n)
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// close ends the outbox: what it holds is not told any more.
func (o *outbox) close() {
	o.end()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.letters = nil
}

// run tells the peer what is put in, until the outbox is closed.
func (o *outbox) run() {
	for {
		select {
		case <-o.life.Done():
			return
		case <-o.ready:
		}
		for more := true; more; {
			first, batch, ok := o.batch()
			if !ok {
				return
			}
			if err := o.send(first, batch); err != nil {
				o.node.log.Debug("could not tell a member", "member", o.peer.name, "error", err)
				if !o.pause() {
					return
				}
				continue
			}
			more = o.told(first, len(batch))
		}
	}
}

// batch returns what to send next; false if the outbox is closed.
func (o *outbox) batch() (first uint64, batch []letter, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	size, n := 0, 0
	for n < len(o.letters) && size+o.letters[n].size() <= maxBatch {
		size += o.letters[n].size()
		n++
	}
	return o.first, append([]letter(nil), o.letters[:n]...), o.life.Err() == nil
}

// told takes out what was told, unless it was dropped meanwhile, and reports
// whether there is more.
func (o *outbox) told(first uint64, n int) (more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if end := first + uint64(n); end > o.first {
		o.shift(min(int(end-o.first), len(o.letters)))
	}
	return len(o.letters) > 0
}

// pause waits before another try, and reports whether there is to be one.
func (o *outbox) pause() bool {
	timer := time.NewTimer(o.node.opts.beat() / 2)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.life.Done():
		return false
	}
}

// send gives the peer a batch. Sending one again does no harm: its letters are
// numbered.
func (o *outbox) send(first uint64, batch []letter) error {
	n := o.node
	s := n.now.Load()
	if s == nil || o.peer.advertise == "" {
		return ErrUndelivered
	}
	body := appendBatch(nil, first, batch)
	e := envelope{
		purpose: messaging, from: s.key.Ref, to: o.peer.key.Ref, sequence: n.sequence.Add(1),
		issued: s.storeTime(time.Now()), body: digested, digest: sha256.Sum256(body),
	}
	ctx, cancel := context.WithTimeout(o.life, n.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, trimSlash(o.peer.advertise)+PeerPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set(Header, e.seal(s.sign, req.Method, req.URL.RequestURI()))
	res, err := n.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1024))
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("told member %s: it answered %d", o.peer.name, res.StatusCode)
	}
	return nil
}
