package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func TestSigningInTakesTheDataAlongUnderANewID(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/count", 200, "1")
	before := b.id()
	b.expect("/signin?user=ann", 200, "")
	if b.id() == before {
		t.Fatal("the id is the same")
	}
	b.expect("/count", 200, "2")
	b.expect("/whoami", 200, "ann")
	old := s.browser()
	old.hold(before)
	old.expect("/whoami", 200, "nobody")
}

func TestAnotherUserGetsNothingOfTheOneBefore(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	b.expect("/count", 200, "1")
	anns := b.id()
	b.expect("/signin?user=bob", 200, "")
	b.expect("/whoami", 200, "bob")
	b.expect("/count", 200, "1")
	old := s.browser()
	old.hold(anns)
	old.expect("/whoami", 200, "nobody")
	if s.count() != 1 {
		t.Errorf("there are %d sessions", s.count())
	}
}

func TestSignInsOfOneBrowserAtTheSameMomentAllSucceed(t *testing.T) {
	s := newSite(t, session.Policy{MaxPerUser: -1}, web.Options{}, nil)
	b := s.browser()
	b.expect("/count", 200, "1")
	id := b.id()
	var group sync.WaitGroup
	var mu sync.Mutex
	kept := 0
	for range 8 {
		group.Go(func() {
			tab := s.browser()
			tab.hold(id)
			if p, err := tab.try(tab.request(http.MethodGet, "/signin?user=ann", nil)); err != nil || p.status != 200 {
				t.Errorf("%d %v", p.status, err)
				return
			}
			p, err := tab.try(tab.request(http.MethodGet, "/count", nil))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if p.body == "2" {
				kept++
			}
		})
	}
	group.Wait()
	if kept != 1 {
		t.Errorf("the data went to %d sessions, want 1", kept)
	}
}

func TestSigningOutEndsTheSessionAndTellsTheBrowser(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	id := b.id()
	p := b.expect("/signout", 200, "")
	if got := p.header.Get("Clear-Site-Data"); got != `"cache", "cookies", "storage"` {
		t.Errorf("Clear-Site-Data %s", got)
	}
	if got, want := p.header.Get("Set-Cookie"), "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict"; got != want {
		t.Errorf("Set-Cookie %q, want %q", got, want)
	}
	if b.id() != "" {
		t.Error("the browser keeps the cookie")
	}
	b.hold(id)
	b.expect("/whoami", 200, "nobody")
	b.expect("/signout", 200, "") // again, without a session
}

func TestWhatIsStoredAfterSigningOutStartsANewSession(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/bye", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		own := web.FromContext(ctx)
		if err := own.SignOut(ctx); err != nil {
			return err
		}
		return own.Set(ctx, "n", 41)
	})
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	p := b.expect("/bye", 200, "")
	if got := p.header.Get("Clear-Site-Data"); got != `"cache", "storage"` {
		t.Errorf("Clear-Site-Data %s would take the new cookie", got)
	}
	if len(p.header["Set-Cookie"]) != 1 {
		t.Errorf("%d cookies were set", len(p.header["Set-Cookie"]))
	}
	b.expect("/whoami", 200, "nobody")
	b.expect("/count", 200, "42")
}

func TestSigningOutEverywhereElseLeavesThisBrowserAlone(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	phone, laptop, desk, bobs := s.browser(), s.browser(), s.browser(), s.browser()
	for _, b := range []*browser{phone, laptop, desk} {
		b.expect("/signin?user=ann", 200, "")
	}
	bobs.expect("/signin?user=bob", 200, "")
	thief := s.browser()
	thief.hold(desk.id()) // a copy of the cookie that is about to be the last

	desk.expect("/signout-others", 200, "2")
	desk.expect("/whoami", 200, "ann")
	bobs.expect("/whoami", 200, "bob")
	for _, b := range []*browser{phone, laptop, thief} {
		b.expect("/whoami", 200, "nobody")
	}
	s.browser().expect("/signout-others", 401, "")
}

func TestUserSeesAndEndsTheirOwnSessionsAlone(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/list", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		for own, err := range web.FromContext(ctx).List(ctx) {
			if err != nil {
				return err
			}
			if !own.ID.IsZero() {
				t.Error("the list has an id")
			}
			fmt.Fprintln(w, own.User, own.Ref)
		}
		return nil
	})
	s.handle("/end", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		ref, err := state.ParseRef(r.FormValue("ref"))
		if err != nil {
			return err
		}
		return web.FromContext(ctx).End(ctx, ref)
	})
	phone, laptop, bobs := s.browser(), s.browser(), s.browser()
	phone.expect("/signin?user=ann", 200, "")
	laptop.expect("/signin?user=ann", 200, "")
	bobs.expect("/signin?user=bob", 200, "")
	ref := func(b *browser) string {
		id, err := session.ParseID(b.id())
		if err != nil {
			t.Fatal(err)
		}
		return id.Ref().String()
	}
	a, b := "ann "+ref(phone)+"\n", "ann "+ref(laptop)+"\n"
	if got := phone.get("/list").body; got != a+b && got != b+a {
		t.Errorf("ann sees\n%s", got)
	}
	s.browser().expect("/list", 401, "")
	s.browser().expect("/end?ref="+ref(bobs), 401, "")

	foreign := phone.get("/end?ref=" + ref(bobs))
	unknown := phone.get("/end?ref=" + strings.Repeat("a", 28))
	if foreign.status != 404 || foreign.body != unknown.body || unknown.status != foreign.status {
		t.Errorf("another's session: %d %q; an unknown one: %d %q", foreign.status, foreign.body, unknown.status, unknown.body)
	}
	bobs.expect("/whoami", 200, "bob")

	phone.expect("/end?ref="+ref(laptop), 200, "")
	laptop.expect("/whoami", 200, "nobody")
	phone.expect("/end?ref="+ref(phone), 200, "")
	phone.expect("/whoami", 200, "nobody")
	if phone.id() != "" {
		t.Error("ending one's own session left the cookie")
	}
}

func TestPrivilegesChangeTogetherWithTheID(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/elevate", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		return web.FromContext(ctx).Elevate(ctx, func(s *session.Session) error { return s.Set("n", 100) })
	})
	b := s.browser()
	b.expect("/elevate", 401, "")
	b.expect("/signin?user=ann", 200, "")
	old := s.browser()
	old.hold(b.id())
	b.expect("/elevate", 200, "")
	b.expect("/count", 200, "101")
	old.expect("/whoami", 200, "nobody")
}

func TestStepUpAsksForARecentSignIn(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	done := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "done") })
	s.mux.Handle("/any", web.Require{}.Middleware(done))
	s.mux.Handle("/recent", web.Require{MaxAge: 5 * time.Minute}.Middleware(done))
	s.mux.Handle("/otp", web.Require{MaxAge: 5 * time.Minute, Methods: []string{"otp"}}.Middleware(done))
	s.mux.Handle("/otp-once", web.Require{Methods: []string{"otp"}}.Middleware(done))
	s.mux.Handle("/page", web.Require{MaxAge: time.Minute, Challenge: func(w http.ResponseWriter, r *http.Request, err error) {
		http.Redirect(w, r, "/signin?why="+fmt.Sprint(err == web.ErrStale), http.StatusSeeOther)
	}}.Middleware(done))

	b := s.browser()
	for _, path := range []string{"/any", "/recent", "/otp", "/otp-once"} {
		b.expect(path, 401, "")
	}
	if p := b.get("/page"); p.status != 303 || p.header.Get("Location") != "/signin?why=false" {
		t.Errorf("challenge: %d %s", p.status, p.header.Get("Location"))
	}
	b.expect("/signin?user=ann&method=pwd", 200, "")
	for path, want := range map[string]int{"/any": 200, "/recent": 200, "/otp": 403, "/otp-once": 403, "/page": 200} {
		b.expect(path, want, "")
	}
	s.clock.Advance(6 * time.Minute)
	b.expect("/any", 200, "done")
	b.expect("/recent", 403, "")
	if p := b.get("/page"); p.status != 303 || p.header.Get("Location") != "/signin?why=true" {
		t.Errorf("challenge: %d %s", p.status, p.header.Get("Location"))
	}
	b.expect("/signin?user=ann&method=otp", 200, "") // again, with more
	for _, path := range []string{"/any", "/recent", "/otp", "/otp-once"} {
		b.expect(path, 200, "done")
	}
	s.clock.Advance(6 * time.Minute)
	b.expect("/otp", 403, "")
	b.expect("/otp-once", 200, "done")

	s.store.set(true)
	b.expect("/any", 503, "")
	s.store.set(false)
}
