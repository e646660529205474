package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func TestRequestThatDoesNotUseItsSessionDoesNotTouchTheStore(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/count", 200, "1")
	s.store.take()
	p := b.expect("/plain", 200, "plain")
	if got := s.store.take(); got != "" {
		t.Errorf("the store was asked: %s", got)
	}
	if p.header.Get("Cache-Control") != "" || len(p.header["Set-Cookie"]) > 0 {
		t.Errorf("the answer has %v", p.header)
	}
}

func TestVisitorHasNoSessionUntilSomethingIsStored(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/nothing", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		return web.FromContext(ctx).Update(ctx, func(*session.Session) error { return nil })
	})
	s.handle("/delete", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		return web.FromContext(ctx).Delete(ctx, "n")
	})
	b := s.browser()
	for _, path := range []string{"/whoami", "/nothing", "/delete"} {
		p := b.expect(path, 200, "")
		if s.count() != 0 || b.id() != "" {
			t.Fatalf("%s started a session", path)
		}
		if got := p.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
	if got := s.store.take(); got != "list 0" && strings.Contains(got, "create") {
		t.Errorf("the store was asked to %s", got)
	}
	b.expect("/count", 200, "1")
	if s.count() != 1 || b.id() == "" {
		t.Error("no session was started for what was stored")
	}
	b.expect("/count", 200, "2")
}

func TestTheCookieIsAsStrictAsCookiesGet(t *testing.T) {
	s := newSite(t, session.Policy{SecretBytes: session.MaxSecretBytes}, web.Options{}, nil)
	p := s.browser().get("/count")
	set := p.header["Set-Cookie"]
	if len(set) != 1 {
		t.Fatalf("Set-Cookie %q", set)
	}
	value, attributes, _ := strings.Cut(set[0], ";")
	if attributes != " Path=/; HttpOnly; Secure; SameSite=Strict" || !strings.HasPrefix(value, "__Host-session=") {
		t.Errorf("the cookie is %q with %q", strings.SplitN(value, "=", 2)[0], attributes)
	}
	if len(value) > 4096 {
		t.Errorf("name and value have %d bytes", len(value))
	}
}

func TestReadingTouchesOnceAnIntervalAndWritesNothingElse(t *testing.T) {
	s := newSite(t, session.Policy{TouchInterval: time.Minute}, web.Options{}, nil)
	b := s.browser()
	b.expect("/count", 200, "1")
	s.store.take()
	var writes []string
	for range 6 {
		s.clock.Advance(20 * time.Second)
		b.expect("/whoami", 200, "nobody")
		writes = append(writes, s.store.take())
	}
	want := "get 1|get 1|get 1, touch 1|get 1|get 1|get 1, touch 1"
	if got := strings.Join(writes, "|"); got != want {
		t.Errorf("the store was asked to\n%s, want\n%s", got, want)
	}
}

func TestUpdateThatChangesNothingWritesNothing(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/same", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		return web.FromContext(ctx).Set(ctx, "n", 1)
	})
	b := s.browser()
	b.expect("/count", 200, "1")
	s.store.take()
	b.expect("/same", 200, "")
	if got := s.store.take(); strings.Contains(got, "update") {
		t.Errorf("the store was asked to %s", got)
	}
}

func TestSessionInUseStaysAndUnusedEnds(t *testing.T) {
	s := newSite(t, session.Policy{IdleTimeout: time.Hour, TouchInterval: time.Minute}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	for range 5 {
		s.clock.Advance(59 * time.Minute)
		b.expect("/whoami", 200, "ann")
	}
	s.clock.Advance(62 * time.Minute)
	b.expect("/whoami", 200, "nobody")
}

func TestParallelRequestsOfOneBrowserLoseNothing(t *testing.T) {
	s := newSite(t, session.Policy{RegenerateInterval: time.Hour}, web.Options{}, nil)
	b := s.browser()
	b.expect("/count", 200, "1")
	const requests = 24
	var group sync.WaitGroup
	for i := range requests {
		group.Go(func() {
			if i == requests/2 {
				s.clock.Advance(time.Hour) // the id is renewed in the midst of it
			}
			if p, err := b.try(b.request(http.MethodGet, "/count", nil)); err != nil || p.status != 200 {
				t.Errorf("%d %q %v", p.status, p.body, err)
			}
		})
	}
	group.Wait()
	b.expect("/count", 200, fmt.Sprint(requests+2))
	if n := s.count(); n != 1 {
		t.Errorf("there are %d sessions", n)
	}
}

func TestParallelRequestsAreHandedTheNewCookie(t *testing.T) {
	s := newSite(t, session.Policy{RegenerateInterval: time.Hour, RegenerateGrace: time.Minute}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	old := b.id()
	s.clock.Advance(time.Hour)

	tabs := []*browser{s.browser(), s.browser(), s.browser()}
	var next string
	for i, tab := range tabs {
		tab.hold(old)
		tab.expect("/whoami", 200, "ann")
		if tab.id() == old {
			t.Fatalf("tab %d keeps the old id", i)
		}
		if i > 0 && tab.id() != next {
			t.Errorf("tab %d has another id than the first", i)
		}
		next = tab.id()
	}
	s.clock.Advance(time.Minute)
	tabs[0].expect("/whoami", 200, "ann")
	stale := s.browser()
	stale.hold(old)
	stale.expect("/whoami", 200, "nobody")
}

func TestUnknownIdLeavesTheCookieAlone(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	other := s.browser()
	other.hold(b.id())
	b.expect("/signin?user=ann", 200, "") // authenticates again: a new id, no grace
	// The other tab's request was under way; its answer must not make the
	// browser forget the new cookie.
	p := other.expect("/whoami", 200, "nobody")
	if len(p.header["Set-Cookie"]) > 0 {
		t.Error("the answer sets a cookie")
	}
}

func TestOutageIsUnavailableAndNeverANewSession(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	id := b.id()
	for _, path := range []string{"/whoami", "/count", "/signin?user=ann", "/signin?user=bob", "/signout", "/signout-others"} {
		s.store.set(true)
		p := b.expect(path, 503, "")
		s.store.set(false)
		if p.header.Get("Retry-After") == "" || len(p.header["Set-Cookie"]) > 0 || p.header.Get("Clear-Site-Data") != "" {
			t.Errorf("%s: the answer has %v", path, p.header)
		}
	}
	if b.id() != id || s.count() != 1 {
		t.Error("the outage changed something")
	}
	b.expect("/whoami", 200, "ann")

	s.store.set(true)
	visitor := s.browser()
	visitor.expect("/count", 503, "")
	visitor.expect("/plain", 200, "plain")
	s.store.set(false)
	if visitor.id() != "" || s.count() != 1 {
		t.Error("the outage started a session")
	}
}

func TestFailedRenewalKeepsTheSession(t *testing.T) {
	s := newSite(t, session.Policy{RegenerateInterval: time.Hour}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	old := b.id()
	s.clock.Advance(time.Hour)
	s.store.onEach(func(op string) { s.store.set(op == "update") })
	b.expect("/whoami", 200, "ann")
	s.store.onEach(nil)
	s.store.set(false)
	if b.id() != old {
		t.Fatal("a renewal that failed gave a new id")
	}
	b.expect("/whoami", 200, "ann")
	if b.id() == old {
		t.Error("the next request did not renew the id")
	}
}

func TestWithoutTheMiddlewareEverythingSaysSo(t *testing.T) {
	s := web.FromContext(t.Context())
	_, user := s.User(t.Context())
	_, load := s.Load(t.Context())
	_, others := s.SignOutOthers(t.Context())
	for _, err := range []error{user, load, others, s.Set(t.Context(), "k", 1), s.SignIn(t.Context(), "ann", session.Authentication{}), s.SignOut(t.Context()), s.Regenerate(t.Context())} {
		if err != web.ErrNoMiddleware {
			t.Errorf("got %v", err)
		}
	}
}

func TestReservedKeysAreRefused(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/reserved", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		if err := web.FromContext(ctx).Set(ctx, "coatcheck:csrf", "x"); err != session.ErrReservedKey {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	b := s.browser()
	b.expect("/reserved", 200, "")
	b.expect("/count", 200, "1")
	b.expect("/reserved", 200, "")
}

func TestSessionOfAPrincipalOpensForNobodyElse(t *testing.T) {
	principal := func(r *http.Request) (string, error) { return r.Header.Get("Test-User"), nil }
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id", HeaderOnly: true, Principal: principal}, nil)
	b := s.browser()
	id := b.get("/count", "Test-User", "ann").header.Get("Session-Id")
	for user, want := range map[string]string{"ann": "2", "bob": "1", "": "1"} {
		if got := b.get("/count", "Session-Id", id, "Test-User", user); got.body != want {
			t.Errorf("as %q: %s, want %s", user, got.body, want)
		}
	}
	if p := b.get("/signin?user=bob", "Session-Id", id, "Test-User", "ann"); p.status != 401 {
		t.Errorf("ann signed in as bob: %d", p.status)
	}
}

func TestSessionStaysInItsNetworkIfThePolicySaysSo(t *testing.T) {
	trusted := session.Collector{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	policy := session.Policy{Binding: session.Binding{Address: session.SameNetwork, UserAgent: true}}
	s := newSite(t, policy, web.Options{Collector: trusted}, nil)
	b := s.browser()
	b.get("/signin?user=ann", "X-Forwarded-For", "203.0.113.1", "User-Agent", "one")
	for _, c := range []struct{ address, agent, want string }{
		{"203.0.113.1", "one", "ann"}, {"203.0.113.9", "one", "ann"}, {"203.0.114.1", "one", "nobody"}, {"203.0.113.1", "two", "nobody"},
	} {
		if p := b.get("/whoami", "X-Forwarded-For", c.address, "User-Agent", c.agent); p.body != c.want {
			t.Errorf("from %s by %s: %s, want %s", c.address, c.agent, p.body, c.want)
		}
	}
}
