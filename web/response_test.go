package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func TestCookieIsThereBeforeTheFirstByteOfAStream(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	goOn := make(chan struct{})
	var late error
	s.handle("/stream", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		own := web.FromContext(ctx)
		if err := own.Set(ctx, "k", 1); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		<-goOn
		late = own.Set(ctx, "k", 2) // needs no new id
		_, err := io.WriteString(w, "end")
		return err
	})
	b := s.browser()
	res, err := b.client.Do(b.request(http.MethodGet, "/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b.id() == "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("before the first byte the header is %v", res.Header)
	}
	close(goOn)
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "end" || late != nil {
		t.Errorf("%q %v, update %v", body, err, late)
	}
}

func TestOnceTheAnswerHasBegunNoSessionIsStarted(t *testing.T) {
	begin := map[string]func(w http.ResponseWriter){
		"write":        func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"write string": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
		"status":       func(w http.ResponseWriter) { w.WriteHeader(200) },
		"flush":        func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":   func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"copy":         func(w http.ResponseWriter) { _, _ = io.Copy(w, iotest.OneByteReader(strings.NewReader("x"))) },
	}
	for name, f := range begin {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, session.Policy{}, web.Options{}, nil)
			var errs []error
			s.mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
				f(w)
				own := web.FromContext(r.Context())
				errs = append(errs, own.Set(r.Context(), "k", 1), own.SignIn(r.Context(), "ann", session.Authentication{}))
			})
			b := s.browser()
			b.expect("/late", 200, "")
			for _, err := range errs {
				if err != web.ErrBegun {
					t.Errorf("got %v", err)
				}
			}
			if s.count() != 0 {
				t.Error("a session was started that nobody has")
			}
		})
	}
}

func TestInformationalStatusIsNotTheAnswerYet(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/hints", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		w.WriteHeader(http.StatusEarlyHints)
		return web.FromContext(ctx).Set(ctx, "k", 1)
	})
	b := s.browser()
	b.expect("/hints", 200, "")
	if b.id() == "" {
		t.Error("there is no cookie")
	}
}

func TestResponseControllerReachesTheConnection(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/controlled", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		c := http.NewResponseController(w)
		return errors.Join(
			c.SetReadDeadline(time.Now().Add(time.Minute)), c.SetWriteDeadline(time.Now().Add(time.Minute)),
			c.EnableFullDuplex(), c.Flush(),
		)
	})
	if p := s.browser().get("/controlled"); p.status != 200 {
		t.Errorf("%d %s", p.status, p.body)
	}
}

func TestHijackedConnectionIsTheHandlers(t *testing.T) {
	s := newSite(t, session.Policy{RegenerateInterval: time.Hour}, web.Options{}, nil)
	var late error
	s.mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		user, err := web.FromContext(r.Context()).User(r.Context())
		conn, rw, hijackErr := w.(http.Hijacker).Hijack()
		if err != nil || hijackErr != nil {
			t.Error(err, hijackErr)
			return
		}
		defer conn.Close()
		late = web.FromContext(r.Context()).Regenerate(r.Context())
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello %s\n", user)
		_ = rw.Flush()
	})
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	id := b.id()
	s.clock.Advance(time.Hour) // a new id is due, but not here
	res, err := b.client.Do(b.request(http.MethodGet, "/upgrade", nil, "Connection", "Upgrade", "Upgrade", "echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if line != "hello ann\n" {
		t.Errorf("%q %v", line, err)
	}
	if late != web.ErrBegun {
		t.Errorf("regenerating after the hijack: %v", late)
	}
	b.expect("/whoami", 200, "ann")
	if b.id() == id {
		t.Error("the request after the upgrade did not renew the id")
	}
}

func TestPanicStillHandsOverTheNewID(t *testing.T) {
	recovering := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					w.WriteHeader(500)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) {
		if err := web.FromContext(r.Context()).SignIn(r.Context(), "ann", session.Authentication{}); err != nil {
			t.Error(err)
		}
		panic("after the sign-in")
	})
	outer := recovering(s.sessions.Middleware(s.mux))
	w := httptest.NewRecorder()
	outer.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "https://example.com/panic", nil))
	if w.Code != 500 || !strings.HasPrefix(w.Header().Get("Set-Cookie"), "__Host-session=") {
		t.Errorf("%d, %d cookies", w.Code, len(w.Header()["Set-Cookie"]))
	}
}

func TestAnswersThatUsedTheSessionAreNotCached(t *testing.T) {
	for said, want := range map[string]string{
		"": "no-store", "public, max-age=600": "no-store", "no-cache, no-transform": "no-store, no-transform",
	} {
		s := newSite(t, session.Policy{}, web.Options{}, nil)
		s.handle("/said", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
			if said != "" {
				w.Header().Set("Cache-Control", said)
			}
			_, err := web.FromContext(ctx).User(ctx)
			return err
		})
		if got := s.browser().get("/said").header.Get("Cache-Control"); got != want {
			t.Errorf("the handler said %q: %q, want %q", said, got, want)
		}
	}
}
