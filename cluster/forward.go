package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Forwarding is what is said to the owner beside the request itself.
type Forwarding struct {
	// Ref of the session that the request is for.
	Ref state.Ref
	// Client is the client's address, if known: the owner sees this node's.
	Client netip.Addr
	// Body is the whole body, if it was read already. It may be forwarded
	// several times. Nil: the request's own, as it comes; the owner cannot
	// tell then whether it arrived as it was sent.
	Body []byte
}

// Forward sends the request to the member that owns the session, and passes its
// answer on as it comes: status, headers and trailers as they are, every piece
// of a stream at once. When the client goes, the owner's request is cancelled.
//
// With an error nothing was written to w: [ErrMoved] and [ErrTake] are the
// owner's, [ErrUndelivered] and [ErrLost] are about it, [ErrBusy] and
// [ErrForwarded] about this node; if the client is gone it is the error of the
// request's context. When the owner is lost, or lapses, in the middle of its
// answer, Forward panics with [http.ErrAbortHandler], as
// [httputil.ReverseProxy] does, so that the client sees that its answer broke
// off; the server is silent about it.
//
// The owner accepts one header once. So when a connection breaks before there
// is an answer, the same header is sent a second time, and if the first was
// accepted the second is not: nothing is done twice.
func (n *Node) Forward(w http.ResponseWriter, r *http.Request, to Member, f Forwarding) error {
	if len(r.Header[Header]) > 0 {
		return ErrForwarded
	}
	select {
	case n.forwards <- struct{}{}:
		defer func() { <-n.forwards }()
	default:
		return ErrBusy
	}
	s := n.now.Load()
	p, _ := n.view.find(to.Name)
	if s == nil || p == nil || p.advertise == "" {
		return ErrUndelivered
	}
	n.stats.forwarded.Add(1)
	d, err := n.newDelivery(s, p, r, &f)
	if err != nil {
		return err
	}
	err = d.deliver(w, r)
	n.stats.count(err)
	return err
}

// A delivery is a request on its way to its owner.
type delivery struct {
	node   *Node
	peer   *peer
	base   *url.URL // of the member
	target *url.URL // path and query
	header string
	body   []byte
	own    bool // the request's own body goes, not body
}

func (n *Node) newDelivery(s *standing, p *peer, r *http.Request, f *Forwarding) (*delivery, error) {
	base, err := url.Parse(p.advertise)
	if err != nil {
		return nil, ErrUndelivered
	}
	target, err := targetOf(r)
	if err != nil {
		return nil, ErrUndelivered
	}
	d := &delivery{node: n, peer: p, base: base, target: target, body: f.Body}
	d.own = f.Body == nil && r.Body != nil && r.Body != http.NoBody
	e := envelope{
		purpose: forwarding, from: s.key.Ref, to: p.key.Ref, session: f.Ref,
		sequence: n.sequence.Add(1), issued: s.storeTime(time.Now()), client: f.Client,
	}
	if !d.own {
		e.body, e.digest = digested, sha256.Sum256(f.Body)
	}
	d.header = e.seal(s.sign, r.Method, target.RequestURI())
	return d, nil
}

// targetOf returns path and query as the client sent them: handlers before
// this one may have changed the request's URL.
func targetOf(r *http.Request) (*url.URL, error) {
	if r.RequestURI == "" {
		return &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}, nil
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return nil, err
	}
	return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}, nil
}

// deliver sends the request and passes the answer on.
func (d *delivery) deliver(w http.ResponseWriter, r *http.Request) error {
	life, _ := d.node.view.fate(d.peer)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(life, cancel)()

	first := d.attempt(ctx, w, r)
	if !errors.Is(first, errBroken) {
		return first
	}
	if d.own || ctx.Err() != nil {
		return d.lost(r, first)
	}
	second := d.attempt(ctx, w, r)
	switch {
	case second == nil, errors.Is(second, ErrMoved), errors.Is(second, ErrTake):
		return second // so the first was not accepted
	}
	return d.lost(r, first)
}

// lost is the error of a delivery that may have arrived.
func (d *delivery) lost(r *http.Request, why error) error {
	if err := r.Context().Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLost, why)
}

// errBroken: the connection broke after the request's head was sent.
var errBroken = errors.New("connection broken")

// attempt tries once.
func (d *delivery) attempt(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	a := &attempt{}
	a.run(d, w, r.WithContext(a.trace(ctx)))
	var answer answerError
	switch {
	case a.err == nil:
		return nil
	case errors.As(a.err, &answer):
		return answer.error
	case r.Context().Err() != nil:
		return r.Context().Err()
	case a.sent.Load():
		return fmt.Errorf("%w: %w", errBroken, a.err)
	}
	return fmt.Errorf("%w: %w", ErrUndelivered, a.err)
}

// An attempt is one try to deliver.
type attempt struct {
	sent atomic.Bool // all of the request's head was written to a connection
	err  error
}

func (a *attempt) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { a.sent.Store(true) },
	})
}

func (a *attempt) run(d *delivery, w http.ResponseWriter, r *http.Request) {
	proxy := httputil.ReverseProxy{
		Rewrite:        d.rewrite,
		Transport:      d.node.transport,
		BufferPool:     &d.node.buffers,
		ErrorLog:       slog.NewLogLogger(d.node.log.Handler(), slog.LevelDebug),
		ModifyResponse: answered,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { a.err = err },
	}
	proxy.ServeHTTP(w, r)
}

// rewrite makes the request that goes to the owner.
func (d *delivery) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host = d.base.Scheme, d.base.Host
	out.URL.Path, out.URL.RawPath = d.target.Path, d.target.RawPath
	out.URL.RawQuery, out.URL.ForceQuery = d.target.RawQuery, d.target.ForceQuery
	out.Host = pr.In.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := pr.In.Header[name]; ok {
			out.Header[name] = values
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Expect", answerHeader} {
		out.Header.Del(name)
	}
	out.Header[Header] = []string{d.header}
	if !d.own {
		out.Body, out.ContentLength = http.NoBody, int64(len(d.body))
		if len(d.body) > 0 {
			out.Body = io.NopCloser(bytes.NewReader(d.body))
		}
		out.TransferEncoding, out.Trailer = nil, nil
	}
}

// answered looks at the head of an answer.
func answered(res *http.Response) error {
	answer := res.Header.Get(answerHeader)
	res.Header.Del(answerHeader)
	switch answer {
	case "":
		return nil
	case answerMoved:
		return answerError{ErrMoved}
	case answerTake:
		return answerError{ErrTake}
	case answerReplay:
		return answerError{fmt.Errorf("%w: it has accepted the request on another connection", ErrLost)}
	}
	return answerError{fmt.Errorf("%w: it answered %q", ErrUndelivered, answer)}
}

// An answerError is what a member answered to this node.
type answerError struct{ error }

// newTransport makes what requests to members go through: HTTP/1.1, so that a
// stream that breaks off ends a connection of its own, without a proxy.
func newTransport(o *Options) *http.Transport {
	dialer := net.Dialer{Timeout: o.Timeout / 3, KeepAlive: o.Timeout}
	dial := o.dial
	if dial == nil {
		dial = dialer.DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     o.TLS,
		TLSHandshakeTimeout: o.Timeout / 3,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
}

// copyBuffer is the size of the buffers that answers are copied with.
const copyBuffer = 32 << 10

// buffers lends them.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copyBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
