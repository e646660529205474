package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A forger makes requests as entry would send them to owner.
type forger struct {
	*pair
	target, method string
	body           string
	key            ed25519.PrivateKey
	envelope       envelope
}

func newForger(t testing.TB, p *pair) *forger {
	t.Helper()
	mustMembers2(t, p)
	s, o := p.entry.now.Load(), p.owner.now.Load()
	f := &forger{pair: p, target: "/mcp?a=b", method: "POST", body: "hello", key: s.sign}
	f.envelope = envelope{
		from: s.key.Ref, to: o.key.Ref, session: p.ref, sequence: p.entry.sequence.Add(1),
		issued: s.storeTime(time.Now()), client: p.client, body: digested, digest: sha256.Sum256([]byte(f.body)),
	}
	return f
}

// mustMembers2 lets both know each other.
func mustMembers2(t testing.TB, p *pair) {
	t.Helper()
	for _, n := range []*Node{p.entry, p.owner} {
		if _, err := n.Members(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *forger) header() string { return f.envelope.seal(f.key, f.method, f.target) }

func (f *forger) request(header ...string) *http.Request {
	r := httptest.NewRequest(f.method, f.target, strings.NewReader(f.body))
	r.Header[Header] = header
	return r
}

// refused returns why the owner refuses a request; empty if it does not.
func (f *forger) refused(t testing.TB, r *http.Request) string {
	t.Helper()
	_, ok, err := f.owner.Forwarded(r)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused) && !ok:
		rec := httptest.NewRecorder()
		Refuse(rec, err)
		if rec.Code != refused.Status || rec.Code < 400 || rec.Header().Get(answerHeader) == "" {
			t.Errorf("%v is answered with %d", err, rec.Code)
		}
		return refused.Reason
	case err == nil && ok:
		return ""
	}
	t.Fatalf("neither: %v, %v", ok, err)
	return ""
}

func TestForgedHeadersAreRefused(t *testing.T) {
	p := newPair(t)
	stranger, err := state.NewRef(nodeRouting, randomness{})
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _ := ed25519.GenerateKey(randomness{})
	for name, c := range map[string]struct {
		change func(f *forger) *http.Request
		want   string
	}{
		"as it should be":    {func(f *forger) *http.Request { return f.request(f.header()) }, ""},
		"empty":              {func(f *forger) *http.Request { return f.request("") }, reasonMalformed},
		"two":                {func(f *forger) *http.Request { return f.request(f.header(), f.header()) }, reasonMalformed},
		"two in one":         {func(f *forger) *http.Request { return f.request(f.header() + "," + f.header()) }, reasonMalformed},
		"with a space":       {func(f *forger) *http.Request { return f.request(" " + f.header()) }, reasonMalformed},
		"with a newline":     {func(f *forger) *http.Request { return f.request(f.header()[:8] + "\n" + f.header()[8:]) }, reasonMalformed},
		"padded":             {func(f *forger) *http.Request { return f.request(f.header() + "==") }, reasonMalformed},
		"huge":               {func(f *forger) *http.Request { return f.request(strings.Repeat("A", 1<<20)) }, reasonMalformed},
		"garbage":            {func(f *forger) *http.Request { return f.request(strings.Repeat("A", 300)) }, reasonMalformed},
		"of another version": {func(f *forger) *http.Request { return f.request("Ag" + f.header()[2:]) }, reasonMalformed},
		"for messages": {func(f *forger) *http.Request {
			f.envelope.purpose = messaging
			return f.request(f.header())
		}, reasonMalformed},
		"for another": {func(f *forger) *http.Request {
			f.envelope.to = stranger
			return f.request(f.header())
		}, reasonNotHere},
		"for the sender itself": {func(f *forger) *http.Request {
			f.envelope.to = f.envelope.from
			return f.request(f.header())
		}, reasonNotHere},
		"of a stranger": {func(f *forger) *http.Request {
			f.envelope.from = stranger
			return f.request(f.header())
		}, reasonUnknown},
		"of the receiver itself": {func(f *forger) *http.Request {
			f.envelope.from = f.envelope.to
			return f.request(f.header())
		}, reasonUnknown},
		"with another's key": {func(f *forger) *http.Request {
			f.key = otherKey
			return f.request(f.header())
		}, reasonSignature},
		"of another path": {func(f *forger) *http.Request {
			header := f.header()
			f.target = "/mcp?a=c"
			return f.request(header)
		}, reasonSignature},
		"of another method": {func(f *forger) *http.Request {
			header := f.header()
			f.method = "PUT"
			return f.request(header)
		}, reasonSignature},
		"of an hour ago": {func(f *forger) *http.Request {
			f.envelope.issued = f.envelope.issued.Add(-time.Hour)
			return f.request(f.header())
		}, reasonAge},
		"of a day to come": {func(f *forger) *http.Request {
			f.envelope.issued = f.envelope.issued.Add(24 * time.Hour)
			return f.request(f.header())
		}, reasonAge},
		"seen before": {func(f *forger) *http.Request {
			if f.refused(t, f.request(f.header())) != "" {
				t.Error("the first was refused")
			}
			return f.request(f.header())
		}, reasonReplayed},
		"with an old number": {func(f *forger) *http.Request {
			f.envelope.sequence += 2 * windowBits
			f.refused(t, f.request(f.header()))
			f.envelope.sequence -= 2 * windowBits
			return f.request(f.header())
		}, reasonReplayed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t, p)
			p.owner.view.mu.Lock()
			p.owner.view.asked = time.Time{} // each may make it look
			for _, peer := range p.owner.view.peers {
				peer.window.mu.Lock()
				peer.window.next, peer.window.seen = 0, [windowBits / 64]uint64{}
				peer.window.mu.Unlock()
			}
			p.owner.view.mu.Unlock()
			if got := f.refused(t, c.change(f)); got != c.want {
				t.Errorf("refused for %q, want %q", got, c.want)
			}
		})
	}
}

// No single changed byte of a header gets through, nor a shorter or longer one.
func TestEveryChangedByteOfAHeaderIsRefused(t *testing.T) {
	f := newForger(t, newPair(t))
	good, err := base64.RawURLEncoding.DecodeString(f.header())
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(good)
			changed[i] ^= bit
			if f.refused(t, f.request(encode(changed))) == "" {
				t.Errorf("byte %d changed: accepted", i)
			}
		}
		if f.refused(t, f.request(encode(good[:i]))) == "" {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
	if f.refused(t, f.request(encode(append(bytes.Clone(good), 0)))) == "" {
		t.Error("a byte longer: accepted")
	}
	if why := f.refused(t, f.request(encode(good))); why != "" {
		t.Errorf("unchanged: %s", why)
	}
}

// Unknown senders make the node ask the store, but not each time.
func TestStrangersCannotMakeTheNodeAskTheStoreAtWill(t *testing.T) {
	p := newPair(t)
	f := newForger(t, p)
	lists := &link{Store: p.owner.store}
	p.owner.store = lists
	for range 1000 {
		f.envelope.from, _ = state.NewRef(nodeRouting, randomness{})
		if why := f.refused(t, f.request(f.header())); why != reasonUnknown {
			t.Fatalf("refused for %q", why)
		}
	}
	// One look for each quarter of a beat, which are 5 seconds here.
	if n := lists.lists.Load(); n > 20 {
		t.Errorf("%d looks", n)
	}
}

func TestBodyThatIsNotTheSignedOneIsAnError(t *testing.T) {
	p := newPair(t)
	for name, body := range map[string]string{"changed": "hellO", "longer": "hello!", "shorter": "hell", "empty": "", "as it was": "hello"} {
		f := newForger(t, p)
		header := f.header()
		f.body = body
		r := f.request(header)
		if why := f.refused(t, r); why != "" {
			t.Fatalf("refused: %s", why)
		}
		b, err := io.ReadAll(r.Body)
		if body == "hello" {
			if err != nil || string(b) != body {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			continue
		}
		if !errors.Is(err, ErrBody) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A client can neither pass for a member nor make a member pass on a header of
// its own.
func TestClientsHeaderIsNotPassedOn(t *testing.T) {
	p := newPair(t)
	f := newForger(t, p)
	for _, value := range []string{f.header(), "", "x"} {
		mustFailWith(t, p.fails(t, "POST", "hello", http.Header{Header: {value}}), ErrForwarded)
	}
	if n := p.accepted.Load(); n != 0 {
		t.Errorf("%d accepted", n)
	}
	if _, ok, err := p.owner.Forwarded(httpRequest("POST", "/mcp", "x")); ok || err != nil {
		t.Errorf("a client's request: %v, %v", ok, err)
	}
}

func TestPeerEndpointTakesNothingButSignedMessages(t *testing.T) {
	p := newPair(t)
	told := 0
	p.owner.Subscribe("topic", func(Message) { told++ })
	batch := string(appendBatch(nil, 1, []letter{{topic: "topic"}}))
	for name, c := range map[string]struct {
		change func(f *forger) *http.Request
		status int
	}{
		"signed":    {func(f *forger) *http.Request { return f.request(f.header()) }, http.StatusNoContent},
		"no header": {func(f *forger) *http.Request { return f.request() }, http.StatusBadRequest},
		"a forwarded request": {func(f *forger) *http.Request {
			f.envelope.purpose = forwarding
			return f.request(f.header())
		}, http.StatusBadRequest},
		"a body that is not signed": {func(f *forger) *http.Request {
			f.envelope.body, f.envelope.digest = streamed, [32]byte{}
			return f.request(f.header())
		}, http.StatusBadRequest},
		"another body": {func(f *forger) *http.Request {
			f.body = batch + batch
			return f.request(f.header())
		}, http.StatusBadRequest},
		"too much": {func(f *forger) *http.Request {
			f.body = strings.Repeat("x", 1<<20)
			f.envelope.digest = sha256.Sum256([]byte(f.body))
			return f.request(f.header())
		}, http.StatusBadRequest},
		"what is none": {func(f *forger) *http.Request {
			f.body = batch + "\xff"
			f.envelope.digest = sha256.Sum256([]byte(f.body))
			return f.request(f.header())
		}, http.StatusBadRequest},
		"another method": {func(f *forger) *http.Request {
			f.method = "GET"
			return f.request(f.header())
		}, http.StatusMethodNotAllowed},
	} {
		told = 0
		f := newForger(t, p)
		f.target, f.body = PeerPath, batch
		f.envelope.purpose, f.envelope.digest = messaging, sha256.Sum256([]byte(batch))
		for _, peer := range p.owner.view.all() {
			peer.inbox.mu.Lock()
			// So that it is not what its sender really says that comes first.
			peer.inbox.begun, peer.inbox.next = true, 1
			peer.inbox.mu.Unlock()
		}
		rec := httptest.NewRecorder()
		p.owner.Peers().ServeHTTP(rec, c.change(f))
		if rec.Code != c.status || (told == 1) != (name == "signed") {
			t.Errorf("%s: status %d, told %d", name, rec.Code, told)
		}
	}
}

// authority makes certificates for the replicas of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  ed25519.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	public, private, err := ed25519.GenerateKey(randomness{})
	if err != nil {
		t.Fatal(err)
	}
	a.key = private
	der, err := x509.CreateCertificate(randomness{}, a.cert, a.cert, public, private)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) certificate() tls.Certificate {
	public, private, err := ed25519.GenerateKey(randomness{})
	if err != nil {
		a.t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(randomness{}, cert, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// With mutual TLS a member needs a certificate beside its key; clients do not.
func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		tls  *tls.Config
		want error
	}{
		"with a certificate": {&tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{ours.certificate()}}, nil},
		"without one":        {&tls.Config{RootCAs: ours.pool}, ErrUndelivered},
		// The server says so when the client has perhaps sent its request.
		"of another authority":      {&tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{theirs.certificate()}}, ErrLost},
		"to an unknown certificate": {&tls.Config{RootCAs: theirs.pool, Certificates: []tls.Certificate{ours.certificate()}}, ErrUndelivered},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, func(p *pair) {
				p.options = func(o *Options, web *httptest.Server) {
					o.Advertise = strings.Replace(o.Advertise, "http:", "https:", 1)
					o.TLS, o.Mutual = c.tls, true
					web.Config.ErrorLog = log.New(io.Discard, "", 0)
					web.TLS = &tls.Config{
						Certificates: []tls.Certificate{ours.certificate()}, ClientCAs: ours.pool, ClientAuth: tls.VerifyClientCertIfGiven,
					}
				}
			})
			rec := httptest.NewRecorder()
			mustMembers2(t, p)
			err := p.entry.Forward(rec, httpRequest("POST", "/mcp", "x"), p.to(), Forwarding{Ref: p.ref, Client: p.client, Body: []byte("x")})
			if c.want == ErrLost && errors.Is(err, ErrUndelivered) {
				return // it had not
			}
			if !errors.Is(err, c.want) || err == nil && rec.Code != http.StatusOK {
				t.Errorf("got %d, %v, want %v", rec.Code, err, c.want)
			}
		})
	}
}
