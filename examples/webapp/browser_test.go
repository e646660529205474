package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// noted are the session ids that the browser holds. No log may have one.
var noted testkit.Secrets

func TestMain(m *testing.M) { os.Exit(noted.Run(m)) }

const password = "a password of ann's"

// A site is the shop at shop.example, what its enemies have, and a browser.
type site struct {
	browser context.Context
	url     string // of the shop
	evil    string // of another site
	sibling string // of a neighbour under the same domain
	enemies *http.ServeMux
	clock   *clock
}

// A clock runs as it should, and may be put forward.
type clock struct {
	mu    sync.Mutex // guards ahead
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{browser: startChromium(t), clock: &clock{}, enemies: http.NewServeMux()}
	store := memory.New(memory.Options{Clock: s.clock.Now})
	t.Cleanup(func() { _ = store.Close() })
	manager, err := session.NewManager(store, session.Options{Clock: s.clock.Now, Policy: session.Policy{RegenerateInterval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	people := newPeople(t)
	shop, err := newApp(manager, people)
	if err != nil {
		t.Fatal(err)
	}
	port := serveTLS(t, noted.Handler(shop))
	s.url = "https://shop.example" + port
	port = serveTLS(t, s.enemies)
	s.evil, s.sibling = "https://evil.test"+port, "https://blog.shop.example"+port
	return s
}

func newPeople(t *testing.T) *accounts.Accounts {
	t.Helper()
	people, err := accounts.New(map[string]string{"ann": password, "eve": "eves"}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return people
}

// serveTLS serves on a port of its own, ":1234".
func serveTLS(t *testing.T, h http.Handler) (port string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the browser leaves when it likes
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL[strings.LastIndex(server.URL, ":"):]
}

// TestInChromium drives the shop as people do.
func TestInChromium(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]func(*testing.T, *site){
		"the cookie is as promised":                              cookieIsAsPromised,
		"the basket goes along at sign-in":                       basketGoesAlong,
		"fixation fails":                                         fixationFails,
		"a neighbour cannot plant a cookie":                      neighbourCannotPlant,
		"another site's form is refused":                         foreignFormIsRefused,
		"a link from another site leads to the session":          foreignLink,
		"parallel tabs lose nothing":                             parallelTabs,
		"a form from before the sign-in is refused":              staleForm,
		"own sessions are seen and ended":                        ownSessions,
		"signing out everywhere else":                            signOutEverywhereElse,
		"signing out leaves nothing behind":                      signOut,
		"a sensitive page asks for the password again":           stepUp,
		"localhost needs no TLS, and sessions survive a restart": localhost,
		"every control has a name":                               controlsHaveNames,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

func cookieIsAsPromised(t *testing.T, s *site) {
	ann := s.person(t)
	if status := ann.signIn("ann", password); status != 200 {
		t.Fatalf("sign-in: %d", status)
	}
	cookies := ann.cookies(s.url)
	if len(cookies) != 1 {
		t.Fatalf("the browser has %d cookies", len(cookies))
	}
	c := cookies[0]
	if c.Name != "__Host-session" || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict ||
		c.Domain != "shop.example" || c.Path != "/" || !c.Session || c.Size > 4096 {
		t.Errorf("name %s, secure %v, HttpOnly %v, SameSite %s, domain %s, path %s, until the browser is closed %v, %d bytes",
			c.Name, c.Secure, c.HTTPOnly, c.SameSite, c.Domain, c.Path, c.Session, c.Size)
	}
	if got := ann.cookies(s.sibling); len(got) != 0 {
		t.Errorf("a neighbour would get %d cookies", len(got))
	}
	if value(ann, chromedp.Evaluate[string]("document.cookie")) != "" {
		t.Error("scripts see the cookie")
	}
}

func basketGoesAlong(t *testing.T, s *site) {
	visitor := s.person(t)
	visitor.visit("/")
	visitor.click(`button[aria-label="Add Gloves to the basket"]`)
	before := visitor.id()
	if status := visitor.signIn("ann", password); status != 200 || visitor.id() == before {
		t.Errorf("sign-in: %d, the id is new: %v", status, visitor.id() != before)
	}
	if got := visitor.basket(); got != "1 × Gloves" {
		t.Errorf("the basket has %q", got)
	}
	if visitor.signIn("ann", "wrong") != 403 || visitor.text(".error") == "" {
		t.Error("a wrong password is not refused")
	}
}

func fixationFails(t *testing.T, s *site) {
	eve, ann := s.person(t), s.person(t)
	eve.visit("/")
	planted := eve.id()
	ann.hold(planted)
	if status := ann.signIn("ann", password); status != 200 {
		t.Fatalf("sign-in with a planted cookie: %d", status)
	}
	if ann.id() == planted || ann.user() != "ann" {
		t.Error("the planted id was adopted")
	}
	eve.hold(planted)
	if user := eve.user(); user != "" {
		t.Errorf("the attacker is signed in as %s", user)
	}
}

func neighbourCannotPlant(t *testing.T, s *site) {
	eve, ann := s.person(t), s.person(t)
	if eve.signIn("eve", "eves") != 200 {
		t.Fatal("eve cannot sign in")
	}
	id := eve.id()
	s.enemies.HandleFunc("blog.shop.example/toss", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"__Host-session", "__HOST-session", "__host-session", ""} {
			for _, rest := range []string{"; Domain=shop.example; Path=/; Secure", "; Domain=shop.example; Path=/account"} {
				w.Header().Add("Set-Cookie", name+"="+id+rest)
			}
		}
		w.Header().Add("Set-Cookie", "=__Host-session="+id+"; Domain=shop.example; Path=/")
		serve(fmt.Sprintf(`<p>hello</p><script>document.cookie = "__Host-session=%s; Domain=shop.example; Path=/; Secure"</script>`, id))(w, r)
	})
	ann.load(chromedp.Navigate(s.sibling + "/toss"))
	for _, c := range ann.cookies(s.url + "/account") {
		if strings.Contains(strings.ToLower(c.Name+c.Value), "__host-") {
			t.Errorf("the browser keeps a planted cookie with the prefix, for %s", c.Domain)
		}
	}
	if user := ann.user(); user != "" {
		t.Errorf("signed in as %s", user)
	}
	if ann.signIn("ann", password) != 200 || ann.user() != "ann" {
		t.Error("the planted cookies keep ann out")
	}
}

func foreignFormIsRefused(t *testing.T, s *site) {
	ann := s.person(t)
	ann.signIn("ann", password)
	page := serve(fmt.Sprintf(`<!doctype html>
<form id="buy" method="post" action="%[1]s/basket"><input name="product" value="Felt hat"><button>win</button></form>
<form id="text" method="post" enctype="text/plain" action="%[1]s/basket"><input name="product" value="Felt hat"><button>win</button></form>
<form id="signin" method="post" action="%[1]s/signin"><input name="user" value="eve"><input name="password" value="eves"><button>win</button></form>
<form id="end" method="post" action="%[1]s/account/end-others"><button>win</button></form>`, s.url))
	s.enemies.HandleFunc("/win", page)
	for _, enemy := range []string{s.evil, s.sibling} {
		for _, form := range []string{"buy", "text", "signin", "end"} {
			ann.load(chromedp.Navigate(enemy + "/win"))
			if status := ann.click("#" + form + " button"); status != 403 {
				t.Errorf("form %s of %s: %d", form, enemy, status)
			}
		}
	}
	if ann.user() != "ann" || ann.basket() != "" {
		t.Errorf("ann is now %q, with %q in the basket", ann.user(), ann.basket())
	}
}

// A Strict cookie does not come along with a link. The shop must neither take
// its reader for a stranger nor give them a new session.
func foreignLink(t *testing.T, s *site) {
	s.enemies.HandleFunc("/links", serve(fmt.Sprintf(`<!doctype html><a id="shop" href="%[1]s/">shop</a> <a id="account" href="%[1]s/account">account</a>`, s.url)))
	ann := s.person(t)
	ann.signIn("ann", password)
	for link, path := range map[string]string{"#shop": "/", "#account": "/account"} {
		ann.load(chromedp.Navigate(s.evil + "/links"))
		ann.run(chromedp.Click(chromedp.CSS(link)), chromedp.WaitVisible(chromedp.CSS(`nav a[href="/account"]`)))
		if got := ann.text(`nav a[href="/account"]`); got != "ann" || ann.path() != path {
			t.Errorf("the link %s leads to %s as %q", link, ann.path(), got)
		}
	}
	stranger := s.person(t)
	stranger.load(chromedp.Navigate(s.evil + "/links"))
	stranger.run(chromedp.Click(chromedp.CSS("#account")), chromedp.WaitVisible(chromedp.CSS("#password")))
	if stranger.path() != "/signin" {
		t.Errorf("a stranger is led to %s", stranger.path())
	}
}

func parallelTabs(t *testing.T, s *site) {
	first := s.person(t)
	first.visit("/")
	tabs := []*tab{first, first.another(), first.another(), first.another()}
	for _, b := range tabs[1:] {
		b.visit("/")
	}
	s.clock.Advance(time.Hour) // so that the first of them renews the id
	var group sync.WaitGroup
	for i, b := range tabs {
		group.Go(func() {
			button := fmt.Sprintf(`button[aria-label="Add %s to the basket"]`, products[i].Name)
			if status, err := b.tryLoad(chromedp.Click(chromedp.CSS(button))); err != nil || status != 200 {
				t.Errorf("tab %d: %d %v", i, status, err)
			}
		})
	}
	group.Wait()
	got := first.basket()
	for _, p := range products {
		if !strings.Contains(got, "1 × "+p.Name) {
			t.Errorf("the basket has %q", got)
		}
	}
}

func staleForm(t *testing.T, s *site) {
	here := s.person(t)
	here.visit("/")
	there := here.another()
	if there.signIn("ann", password) != 200 {
		t.Fatal("ann cannot sign in")
	}
	if status := here.click(`button[aria-label="Add Gloves to the basket"]`); status != 403 || here.text(".error") == "" {
		t.Errorf("a form of nobody's, sent as ann: %d", status)
	}
	here.visit("/")
	if status := here.click(`button[aria-label="Add Gloves to the basket"]`); status != 200 {
		t.Errorf("after a reload: %d", status)
	}
}

func ownSessions(t *testing.T, s *site) {
	phone, desk := s.person(t), s.person(t)
	phone.signIn("ann", password)
	desk.signIn("ann", password)
	rows := func() int {
		desk.visit("/account")
		return value(desk, chromedp.Evaluate[int](`document.querySelectorAll("tbody tr").length`))
	}
	before := rows()
	if before < 2 || desk.text("tr.here .badge") != "this one" {
		t.Fatalf("the list has %d sessions, this one %q", before, desk.text("tr.here"))
	}
	// End all that are not this one, by their own buttons.
	for range before - 1 {
		if status := desk.click("tbody tr:not(.here) button"); status != 200 {
			t.Fatalf("end: %d", status)
		}
	}
	if n := rows(); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
	if phone.user() != "" || desk.user() != "ann" {
		t.Errorf("the phone is signed in as %q, the desk as %q", phone.user(), desk.user())
	}
}

func signOutEverywhereElse(t *testing.T, s *site) {
	phone, tablet, desk := s.person(t), s.person(t), s.person(t)
	for _, b := range []*tab{phone, tablet, desk} {
		b.signIn("ann", password)
	}
	desk.visit("/account")
	if status := desk.click(`form[action="/account/end-others"] button`); status != 200 || desk.text(".message") == "" {
		t.Errorf("sign out everywhere else: %d", status)
	}
	for _, b := range []*tab{phone, tablet} {
		b.visit("/account")
		if b.path() != "/signin" {
			t.Errorf("another browser is still in, at %s", b.path())
		}
	}
	if desk.user() != "ann" {
		t.Error("this browser is out as well")
	}
}

func signOut(t *testing.T, s *site) {
	ann := s.person(t)
	ann.signIn("ann", password)
	ann.visit("/account")
	if n := value(ann, chromedp.Evaluate[int](`localStorage.setItem("draft", "of ann's"), localStorage.length`)); n != 1 {
		t.Fatal("the page cannot store anything")
	}
	id := ann.id()
	if status := ann.click(`form[action="/signout"] button`); status != 200 || ann.text(".message") == "" {
		t.Errorf("sign-out: %d", status)
	}
	if ann.id() == id {
		t.Error("the browser keeps the cookie")
	}
	if value(ann, chromedp.Evaluate[int](`localStorage.length`)) != 0 {
		t.Error("the browser keeps what the site had stored")
	}
	ann.load(chromedp.NavigateBack())
	if ann.path() != "/signin" {
		t.Errorf("the way back leads to %s", ann.path())
	}
	ann.hold(id)
	if user := ann.user(); user != "" {
		t.Errorf("the old cookie signs in %s", user)
	}
}

func stepUp(t *testing.T, s *site) {
	ann := s.person(t)
	ann.signIn("ann", password)
	if status := ann.visit("/account/address"); status != 200 || ann.path() != "/account/address" {
		t.Fatalf("right after the sign-in: %d at %s", status, ann.path())
	}
	s.clock.Advance(recently + time.Minute)
	// The form that is open is not accepted either.
	ann.run(chromedp.SetValue(chromedp.CSS("#address"), "1 Coat Lane"))
	ann.click("main form button")
	if ann.path() != "/signin" {
		t.Fatalf("a form after %v leads to %s", recently, ann.path())
	}
	ann.visit("/account")
	if ann.click(`form[action="/account/end-others"] button`); ann.path() != "/signin" {
		t.Fatalf("ending other sessions after %v leads to %s", recently, ann.path())
	}
	ann.visit("/account/address")
	if ann.path() != "/signin" || !strings.Contains(ann.text("main"), "something that matters") {
		t.Fatalf("after %v: at %s", recently, ann.path())
	}
	before := ann.id()
	if status := ann.fillIn("ann", password); status != 200 || ann.path() != "/account/address" {
		t.Fatalf("after the password: %d at %s", status, ann.path())
	}
	if ann.id() == before {
		t.Error("the id is the one from before")
	}
	ann.run(chromedp.SetValue(chromedp.CSS("#address"), "1 Coat Lane"))
	if ann.click("main form button"); ann.text(".address") != "1 Coat Lane" {
		t.Errorf("the address is %q", ann.text(".address"))
	}
}

// Browsers keep Secure cookies of http://localhost, prefix and all.
func localhost(t *testing.T, s *site) {
	path, people := filepath.Join(t.TempDir(), "webapp.db"), newPeople(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	start := func(listener net.Listener) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- run(ctx, listener, path, people) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	}
	local := &site{browser: s.browser, url: "http://localhost" + address[strings.LastIndex(address, ":"):]}
	stop := start(listener)
	ann := local.person(t)
	if status := ann.signIn("ann", password); status != 200 || ann.id() == "" {
		t.Errorf("sign-in: %d, there is a cookie: %v", status, ann.id() != "")
	}
	stop()
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer start(listener)()
	if user := ann.user(); user != "ann" {
		t.Errorf("after a restart signed in as %q", user)
	}
}

func controlsHaveNames(t *testing.T, s *site) {
	ann := s.person(t)
	ann.signIn("ann", password)
	for _, path := range []string{"/", "/signin", "/account", "/account/address"} {
		ann.visit(path)
		nodes := call(ann, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
		controls := 0
		for _, n := range nodes {
			if n.Ignored || n.Role == nil {
				continue
			}
			switch role := string(n.Role.Value); role {
			case `"button"`, `"link"`, `"textbox"`, `"table"`, `"navigation"`:
				controls++
				if role != `"table"` && (n.Name == nil || string(n.Name.Value) == `""`) {
					t.Errorf("%s: a %s has no name", path, role)
				}
			}
		}
		if controls < 4 {
			t.Errorf("%s: found %d controls", path, controls)
		}
	}
}
