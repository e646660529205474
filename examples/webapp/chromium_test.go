package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// patience is how long a page may take on a machine that is busy.
const patience = 2 * time.Minute

// startChromium starts a browser with a profile of its own, without a screen,
// for which every host is this machine.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	allocator, release := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(testkit.Chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.IgnoreCertErrors, chromedp.WindowSize(1100, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
	)
	browser, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		cancel()
		release()
		chromedp.FromContext(browser).Allocator.Wait() // for the process
	})
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return browser
}

// A tab is a page of the browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	site *site
}

// person opens the browser anew, with no cookies: another person's, or the same
// one's elsewhere.
func (s *site) person(t *testing.T) *tab {
	t.Helper()
	return s.open(t, s.browser, chromedp.WithNewBrowserContext())
}

// another opens another tab of the same person.
func (b *tab) another() *tab {
	b.t.Helper()
	return b.site.open(b.t, b.ctx)
}

func (s *site) open(t *testing.T, parent context.Context, opts ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, site: s}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs actions that return nothing.
func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	value(b, chromedp.Steps(steps...))
}

// value runs an action, and returns what that returns.
func value[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// call sends a command of the protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return value(b, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

// load does what makes the browser load a page, and returns its status.
func (b *tab) load(steps ...chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	status, err := b.tryLoad(steps...)
	if err != nil {
		b.t.Fatal(err)
	}
	return status
}

func (b *tab) tryLoad(steps ...chromedp.Action[chromedp.Void]) (int, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	res, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		return 0, err
	}
	return int(res.Status), nil
}

// visit loads a page of the shop.
func (b *tab) visit(path string) int {
	b.t.Helper()
	return b.load(chromedp.Navigate(b.site.url + path))
}

// click clicks what loads another page.
func (b *tab) click(selector string) int {
	b.t.Helper()
	return b.load(chromedp.Click(chromedp.CSS(selector)))
}

// signIn signs in through the form.
func (b *tab) signIn(user, password string) int {
	b.t.Helper()
	b.visit("/signin")
	return b.fillIn(user, password)
}

func (b *tab) fillIn(user, password string) int {
	b.t.Helper()
	b.run(chromedp.SetValue(chromedp.CSS("#user"), user), chromedp.SetValue(chromedp.CSS("#password"), password))
	return b.click("main form button")
}

// text is what stands in the page where the selector leads, or "".
func (b *tab) text(selector string) string {
	b.t.Helper()
	return value(b, chromedp.Evaluate[string](fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? "").trim()`, selector)))
}

// path is where the tab is.
func (b *tab) path() string {
	b.t.Helper()
	u, err := url.Parse(value(b, chromedp.Location()))
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Path
}

// user is who the page says is signed in.
func (b *tab) user() string {
	b.t.Helper()
	b.visit("/")
	return b.text(`nav a[href="/account"]`)
}

// basket is what the page says is in the basket.
func (b *tab) basket() string {
	b.t.Helper()
	b.visit("/")
	return strings.ReplaceAll(b.text(".basket ul"), "\n", ", ")
}

// cookies are those that the browser would send to a page, as it sees them.
func (b *tab) cookies(page string) []*network.Cookie {
	b.t.Helper()
	return call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{page}}).Cookies
}

// id is the session cookie, or "".
func (b *tab) id() string {
	b.t.Helper()
	for _, c := range b.cookies(b.site.url) {
		if c.Name == "__Host-session" {
			return c.Value
		}
	}
	return ""
}

// hold makes the browser have a session cookie.
func (b *tab) hold(id string) {
	b.t.Helper()
	yes := true
	call(b, network.SetCookie, network.SetCookieParams{
		Name: "__Host-session", Value: id, URL: b.site.url, Path: "/", Secure: &yes, HTTPOnly: &yes, SameSite: network.CookieSameSiteStrict,
	})
}

// serve answers with a page of the text.
func serve(html string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, html)
	}
}
