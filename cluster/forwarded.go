package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Forward is what a member has signed of a request that it forwards.
type Forward struct {
	From   string     // the member's name
	Ref    state.Ref  // the session that it is for: no other may be served
	Client netip.Addr // the client's address, as the member has found it; may be zero
}

// maxAge is how far the time of a header may be from the receiver's. Both are
// the store's time, so clocks of machines do not matter.
const maxAge = time.Minute

// Forwarded reports whether the request was forwarded by a member, and what it
// says. It must be called before anything else is done with a request. An error
// means that the request carries a header that does not count: answer it with
// [Refuse], and nothing else.
//
// A request that was accepted gets a body that fails instead of ending if it is
// not the one that was signed, so nothing may be done with it before it was read
// to its end. The same header is not accepted again.
func (n *Node) Forwarded(r *http.Request) (Forward, bool, error) {
	values := r.Header[Header]
	if len(values) == 0 {
		return Forward{}, false, nil
	}
	e, _, err := n.accept(r, forwarding)
	if err != nil {
		n.stats.refused.Add(1)
		return Forward{}, false, err
	}
	n.stats.accepted.Add(1)
	return Forward{From: e.from.String(), Ref: e.session, Client: e.client}, true, nil
}

// The reasons of a [RefusedError]. What the sender makes of each stands in
// answer.go.
const (
	reasonMalformed   = "malformed header"
	reasonInsecure    = "no verified client certificate"
	reasonNotHere     = "meant for another incarnation"
	reasonUnconfirmed = "heartbeat not confirmed"
	reasonUnknown     = "unknown sender"
	reasonSignature   = "bad signature"
	reasonAge         = "too old, or from the future"
	reasonReplayed    = "seen before"
)

// accept verifies a header for the given purpose.
func (n *Node) accept(r *http.Request, want purpose) (*envelope, *peer, error) {
	values := r.Header[Header]
	if n.opts.Mutual && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return nil, nil, &RefusedError{Status: http.StatusForbidden, Reason: reasonInsecure}
	}
	if len(values) != 1 {
		return nil, nil, &RefusedError{Status: http.StatusBadRequest, Reason: reasonMalformed}
	}
	e, raw, signature, err := open(values[0])
	if err != nil || e.purpose != want || want == messaging && e.body != digested {
		return nil, nil, &RefusedError{Status: http.StatusBadRequest, Reason: reasonMalformed}
	}
	s := n.now.Load()
	switch {
	case s == nil || e.to != s.key.Ref:
		return nil, nil, &RefusedError{Status: http.StatusMisdirectedRequest, Reason: reasonNotHere}
	case !time.Now().Before(s.until):
		return nil, nil, &RefusedError{Status: http.StatusServiceUnavailable, Reason: reasonUnconfirmed}
	}
	p := n.sender(r, e.from.String())
	if p == nil || p.public == nil {
		return nil, nil, &RefusedError{Status: http.StatusForbidden, Reason: reasonUnknown}
	}
	if !ed25519.Verify(p.public, signed(raw, r.Method, r.RequestURI), signature) {
		return nil, nil, &RefusedError{Status: http.StatusForbidden, Reason: reasonSignature}
	}
	if age := s.storeTime(time.Now()).Sub(e.issued); age > maxAge || age < -maxAge {
		return nil, nil, &RefusedError{Status: http.StatusForbidden, Reason: reasonAge}
	}
	if !p.window.admit(e.sequence) {
		return nil, nil, &RefusedError{Status: http.StatusForbidden, Reason: reasonReplayed}
	}
	if e.body == digested {
		r.Body = &signedBody{body: r.Body, hash: sha256.New(), want: e.digest}
	}
	return &e, p, nil
}

// sender returns the member with a name. One that has just joined is not known
// yet, so the store is asked, but seldom: anybody can send a name. Who may not
// ask waits for the answer to somebody who has.
func (n *Node) sender(r *http.Request, name string) *peer {
	p, gone := n.view.find(name)
	if p != nil || gone {
		return p
	}
	if n.view.mayAsk(n.opts.beat() / 4) {
		_ = n.refresh(r.Context())
	} else {
		n.view.await(r.Context())
	}
	p, _ = n.view.find(name)
	return p
}

// ErrBody is the error of a forwarded request's body that is not the one that
// was signed.
var ErrBody = errors.New("the body is not the one that was signed")

// A signedBody ends with an error if it is not what was signed.
type signedBody struct {
	body io.ReadCloser
	hash hash.Hash
	want [sha256.Size]byte
}

func (b *signedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.hash.Write(p[:n])
	if err == io.EOF && !bytes.Equal(b.hash.Sum(nil), b.want[:]) {
		return n, fmt.Errorf("forwarded request: %w", ErrBody)
	}
	return n, err
}

func (b *signedBody) Close() error { return b.body.Close() }
