package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestArrivesAsTheClientSentIt(t *testing.T) {
	for _, read := range []bool{true, false} {
		p := newPair(t, func(p *pair) { p.read = read })
		for _, c := range []struct{ method, target, body string }{
			{"POST", "/mcp", `{"jsonrpc":"2.0"}`},
			{"POST", "/mcp", ""},
			{"GET", "/mcp?a=1&a=2;b=%zz&&x", ""},
			{"DELETE", "/mcp/a%2Fb%20c//d/./e?", ""},
			{"PUT", "/mcp/%E2%82%AC", strings.Repeat("long ", 100_000)},
		} {
			var got *http.Request
			var body []byte
			p.serving(func(w http.ResponseWriter, r *http.Request) {
				var err error
				if body, err = io.ReadAll(r.Body); err != nil {
					t.Error(err)
				}
				got = r
			})
			header := http.Header{
				"Authorization":     {"Bearer secret"},
				"Mcp-Session-Id":    {"abc.def"},
				"Cookie":            {"a=b; c=d"},
				"X-Forwarded-For":   {"203.0.113.9", "10.1.1.1"},
				"X-Forwarded-Proto": {"https"},
				"Forwarded":         {"for=203.0.113.9"},
				"Accept":            {"text/event-stream"},
				"X-Many":            {"1", "2"},
				"User-Agent":        nil,
				"Connection":        {"X-Hop, Upgrade"},
				"Upgrade":           {"websocket"},
				"X-Hop":             {"not for the owner"},
				"Coatcheck-Answer":  {"take"},
				"Idempotency-Key":   {"1"},
				"Accept-Encoding":   {"gzip"},
			}
			if res, text := p.do(t, c.method, c.target, c.body, header); res.StatusCode != http.StatusOK {
				t.Fatalf("%v: status %d: %s", c, res.StatusCode, text)
			}
			if got.Method != c.method || got.RequestURI != c.target || string(body) != c.body || got.ContentLength != int64(len(c.body)) {
				t.Errorf("%s %s of %d bytes became %s %s of %d", c.method, c.target, len(c.body), got.Method, got.RequestURI, len(body))
			}
			if got.Host != strings.TrimPrefix(p.entryWeb.URL, "http://") {
				t.Errorf("Host became %q", got.Host)
			}
			for _, name := range []string{"User-Agent", "Connection", "Upgrade", "X-Hop", "Coatcheck-Answer"} {
				delete(header, name)
				if got.Header[name] != nil {
					t.Errorf("the owner got %s: %q", name, got.Header[name])
				}
			}
			for name, values := range header {
				if !reflect.DeepEqual(got.Header[name], values) {
					t.Errorf("%s became %q", name, got.Header[name])
				}
			}
		}
	}
}

func TestAnswerArrivesAsTheOwnerGaveIt(t *testing.T) {
	p := newPair(t)
	for _, status := range []int{200, 202, 204, 304, 400, 401, 404, 421, 429, 500, 502, 503} {
		p.serving(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X-Many"] = []string{"1", "2"}
			w.Header().Set("Retry-After", "3")
			w.Header().Set("Mcp-Session-Id", "abc.def")
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				_, _ = io.WriteString(w, "what the owner said")
			}
		})
		res, text := p.do(t, "POST", "/mcp", "x", nil)
		if res.StatusCode != status || len(res.Header["X-Many"]) != 2 || res.Header.Get("Retry-After") != "3" || res.Header.Get("Mcp-Session-Id") != "abc.def" {
			t.Errorf("status %d became %d: %v", status, res.StatusCode, res.Header)
		}
		if want := map[bool]string{true: "", false: "what the owner said"}[status == 204 || status == 304]; text != want {
			t.Errorf("status %d: body %q", status, text)
		}
	}
}

func TestTrailersAndEarlyHintsArrive(t *testing.T) {
	p := newPair(t)
	p.serving(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "4")
		w.Header().Set(http.TrailerPrefix+"X-Late", "5")
	})
	var hints atomic.Int64
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints && header.Get("Link") != "" {
				hints.Add(1)
			}
			return nil
		},
	})
	r, _ := http.NewRequestWithContext(ctx, "POST", p.entryWeb.URL+"/mcp", strings.NewReader("x"))
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if hints.Load() != 1 || res.Trailer.Get("X-Sum") != "4" || res.Trailer.Get("X-Late") != "5" {
		t.Errorf("%d hints, trailers %v", hints.Load(), res.Trailer)
	}
}

// A client that waits for "100 Continue" gets it from the replica it talks to.
func TestExpectationsAreMetWhereTheyArrive(t *testing.T) {
	p := newPair(t, func(p *pair) { p.read = false })
	p.serving(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("the owner was asked to continue")
		}
		_, _ = io.Copy(w, r.Body)
	})
	transport := &http.Transport{ExpectContinueTimeout: patience}
	defer transport.CloseIdleConnections()
	r, _ := http.NewRequestWithContext(t.Context(), "POST", p.entryWeb.URL+"/mcp", strings.NewReader("hello"))
	r.Header.Set("Expect", "100-continue")
	began := time.Now()
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); string(b) != "hello" || err != nil || time.Since(began) > patience {
		t.Errorf("got %q, %v", b, err)
	}
}

// open starts a request to the entry whose answer is a stream.
func (p *pair) open(t testing.TB, ctx context.Context, method string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, p.entryWeb.URL+"/mcp", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// The head of a stream comes before its first event, and each event before the
// next is sent.
func TestStreamIsPassedOnPieceByPiece(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		p := newPair(t)
		next := make(chan string)
		p.serving(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			flush := http.NewResponseController(w)
			_ = flush.Flush()
			for text := range next {
				fmt.Fprintf(w, "data: %s\n\n", text)
				_ = flush.Flush()
			}
		})
		res := p.open(t, t.Context(), method) // returns with the head
		lines := bufio.NewReader(res.Body)
		for i := range 100 {
			text := fmt.Sprint("event ", i)
			next <- text
			line, err := lines.ReadString('\n')
			if err != nil || line != "data: "+text+"\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			_, _ = lines.ReadString('\n')
		}
		close(next)
		if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
	}
}

func TestClientThatGoesCancelsTheOwnersRequest(t *testing.T) {
	for _, begun := range []bool{true, false} {
		p := newPair(t)
		inside, gone := make(chan struct{}), make(chan struct{})
		p.serving(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if begun {
				_ = http.NewResponseController(w).Flush()
			}
			close(inside)
			<-r.Context().Done()
			close(gone)
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r, _ := http.NewRequestWithContext(ctx, "POST", p.entryWeb.URL+"/mcp", strings.NewReader("x"))
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}()
		<-inside
		cancel()
		select {
		case <-gone:
		case <-time.After(patience):
			t.Fatal("the owner goes on for nobody")
		}
		<-ended
		if !begun {
			mustFailWith(t, <-p.failed, context.Canceled)
		}
	}
}

// A client must not take half an answer for a whole one.
func TestAnswerThatBreaksOffBreaksOffForTheClient(t *testing.T) {
	for _, c := range []struct{ name, contentType, length string }{
		{"stream", "text/event-stream", ""}, {"of unknown length", "application/json", ""}, {"of known length", "application/json", "100"},
	} {
		p := newPair(t)
		p.serving(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", c.contentType)
			if c.length != "" {
				w.Header().Set("Content-Length", c.length)
			}
			_, _ = io.WriteString(w, "data: half\n\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		r, _ := http.NewRequestWithContext(t.Context(), "POST", p.entryWeb.URL+"/mcp", strings.NewReader("x"))
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			if c.length == "" {
				t.Errorf("%s: %v", c.name, err)
			}
			continue // broken off before its first byte was sent on
		}
		b, err := io.ReadAll(res.Body)
		if err == nil || string(b) != "data: half\n\n" {
			t.Errorf("%s: got %q, %v", c.name, b, err)
		}
		_ = res.Body.Close()
	}
}

func TestOwnerThatMovedOrHandsOverIsToldApart(t *testing.T) {
	p := newPair(t)
	for _, want := range []error{ErrMoved, ErrTake} {
		p.serving(func(w http.ResponseWriter, _ *http.Request) { Refuse(w, want) })
		mustFailWith(t, p.fails(t, "POST", "x", nil), want)
		mustFailWith(t, p.fails(t, "GET", "", nil), want)
	}
}

func TestForwardedRequestIsNotForwardedAgain(t *testing.T) {
	p := newPair(t)
	p.serving(func(w http.ResponseWriter, r *http.Request) {
		mustFailWith(t, p.owner.Forward(w, r, Member{Name: p.entry.Name()}, Forwarding{}), ErrForwarded)
	})
	if res, _ := p.do(t, "POST", "/mcp", "x", nil); res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestOwnerThatCannotBeReachedGotNothing(t *testing.T) {
	p := newPair(t)
	p.ownerWeb.Close()
	mustFailWith(t, p.fails(t, "POST", "x", nil), ErrUndelivered)
	mustFailWith(t, p.entry.Forward(nil, httpRequest("GET", "/mcp", ""), Member{Name: "nobody"}, Forwarding{}), ErrUndelivered)
	if s := p.entry.Stats(); s.Undelivered != 1 || s.Lost != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// The owner has begun with the request, and nobody knows how far it came. No
// header that a client sends makes the request one that is sent again.
func TestRequestWhoseAnswerIsLostIsDoneOnce(t *testing.T) {
	for name, header := range map[string]http.Header{
		"plain": nil, "with a key": {"Idempotency-Key": {"1"}}, "with another": {"X-Idempotency-Key": {"1"}},
	} {
		for _, method := range []string{"POST", "DELETE", "GET"} {
			p := newPair(t)
			p.serving(func(http.ResponseWriter, *http.Request) {})
			for range 2 { // there is a connection that is used again
				p.do(t, method, "/mcp", "", nil)
			}
			p.accepted.Store(0)
			p.serving(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			mustFailWith(t, p.fails(t, method, "", header), ErrLost)
			if n := p.accepted.Load(); n != 1 {
				t.Errorf("%s %s: done %d times", method, name, n)
			}
		}
	}
}

// A faultyConn swallows what is written to it once it is told to, as a
// connection does whose other end has just gone, and then breaks.
type faultyConn struct {
	net.Conn
	broken *atomic.Bool
}

func (c *faultyConn) Write(b []byte) (int, error) {
	if c.broken.Load() {
		_ = c.Conn.Close()
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// The other end closes a connection in the moment in which it is used. The
// request is lost, not the client's call: it is sent again, and done once.
func TestRequestOnADyingConnectionIsSentAgainAndDoneOnce(t *testing.T) {
	for _, method := range []string{"POST", "GET", "DELETE"} {
		var broken atomic.Pointer[atomic.Bool]
		p := newPair(t, func(p *pair) {
			p.conns = func(c net.Conn) net.Conn {
				b := new(atomic.Bool)
				broken.Store(b)
				return &faultyConn{Conn: c, broken: b}
			}
		})
		p.do(t, method, "/mcp", "", nil)
		p.accepted.Store(0)
		p.entry.transport.CloseIdleConnections()
		p.do(t, method, "/mcp", "", nil)
		broken.Load().Store(true)
		body := map[string]string{"POST": "x"}[method]
		if res, text := p.do(t, method, "/mcp", body, nil); res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d: %s", method, res.StatusCode, text)
		}
		if n := p.accepted.Load(); n != 2 {
			t.Errorf("%s: %d requests accepted", method, n)
		}
	}
}

func TestForwardsAreBounded(t *testing.T) {
	p := newPair(t)
	p.entry.forwards = make(chan struct{}, 2)
	inside, on := make(chan struct{}, 2), make(chan struct{})
	p.serving(func(http.ResponseWriter, *http.Request) { inside <- struct{}{}; <-on })
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { p.do(t, "GET", "/mcp", "", nil) })
		<-inside
	}
	mustFailWith(t, p.fails(t, "GET", "", nil), ErrBusy)
	close(on)
	both.Wait()
	if res, _ := p.do(t, "GET", "/mcp", "", nil); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: status %d", res.StatusCode)
	}
}

// An owner that is paused, or hidden behind a network that swallows everything,
// holds a request no longer than it takes to find that it has lapsed.
func TestRequestToASilentOwnerEndsWhenTheOwnerLapses(t *testing.T) {
	for _, begun := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.join(), w.join()
			on := make(chan struct{})
			inside := make(chan struct{})
			b.mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
				if _, _, err := b.Forwarded(r); err != nil {
					t.Error(err)
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if begun {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
				}
				close(inside)
				<-on
			})
			m := a.locate(b.Name()).Member
			ended := make(chan error)
			go func() {
				var err error
				defer func() {
					if p := recover(); p != nil {
						err = p.(error)
					}
					ended <- err
				}()
				r := httpRequest("POST", "/mcp", "x").WithContext(context.WithValue(t.Context(), http.ServerContextKey, &http.Server{}))
				err = a.Forward(httptest.NewRecorder(), r, m, Forwarding{Body: []byte("x")})
			}()
			<-inside
			b.link.setStalled(true)
			silent := time.Now()
			err := <-ended
			if d := time.Since(silent); d > w.timeout*3/2 || d < w.timeout/2 {
				t.Errorf("it took %v", d)
			}
			if want := map[bool]error{true: http.ErrAbortHandler, false: ErrLost}[begun]; !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if p := a.locate(m.Name); p.Where != Free {
				t.Errorf("got %+v", p)
			}
			close(on)
		})
	}
}

// What ends well while its owner leaves is not disturbed.
func TestAnswerOfAnOwnerThatLeavesIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		on := make(chan struct{})
		b.mux.HandleFunc("/mcp", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first,")
			_ = http.NewResponseController(w).Flush()
			<-on
			_, _ = io.WriteString(w, "last")
		})
		m := a.locate(b.Name()).Member
		rec := httptest.NewRecorder()
		ended := make(chan error)
		go func() { ended <- a.Forward(rec, httpRequest("POST", "/mcp", ""), m, Forwarding{}) }()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		mustMembers(t, a) // it has seen that b is gone
		close(on)
		if err := <-ended; err != nil || rec.Body.String() != "first,last" {
			t.Errorf("got %q, %v", rec.Body, err)
		}
	})
}

// A request for the session of a killed owner waits until the session can be
// taken over, and is served then.
func TestSettleWaitsUntilAKilledOwnerIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		key := w.session()
		b.claim(key)
		a.locate(b.Name())
		b.kill()
		ctx, cancel := context.WithTimeout(t.Context(), a.Patience())
		defer cancel()
		for tries := 0; ; tries++ {
			rec := w.record(key)
			p := a.locate(rec.Owner)
			if p.Where == Free {
				a.claim(key)
				return
			}
			mustFailWith(t, a.Forward(httptest.NewRecorder(), httpRequest("POST", "/mcp", "x"), p.Member, Forwarding{}), ErrUndelivered)
			if err := a.Settle(ctx, p.Member); err != nil {
				t.Fatalf("after %d tries: %v", tries, err)
			}
			if tries > 20 {
				t.Fatal("too many tries")
			}
		}
	})
}
