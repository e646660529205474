package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

const token = "open sesame"

// desk is a server with an admin API on a store.
type desk struct {
	t       *testing.T
	store   *memory.Store
	manager *session.Manager
	handler *admin.Handler
	url     string
	ended   []session.Event
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, store: memory.New(memory.Options{})}
	t.Cleanup(func() { d.store.Close() })
	var err error
	if d.manager, err = session.NewManager(d.store, session.Options{}); err != nil {
		t.Fatal(err)
	}
	observe := func(_ context.Context, e session.Event) { d.ended = append(d.ended, e) }
	d.handler = admin.New(admin.Options{
		Ready:    func(context.Context) error { return nil },
		Sessions: admin.NewLocal(d.store, "default", observe),
		Doctor: func(_ context.Context, report func(admin.Finding) error) error {
			return errors.Join(report(admin.OK("fine")), report(admin.Warning("do", "not so fine")))
		},
		Token: token,
	})
	srv := httptest.NewServer(d.handler)
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	d.url = srv.URL
	return d
}

func (d *desk) client() *admin.Client {
	d.t.Helper()
	c, err := admin.NewClient(d.url+"/", admin.ClientOptions{Token: token})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// both are the ways to the same sessions.
func (d *desk) both() map[string]admin.Sessions {
	return map[string]admin.Sessions{"store": admin.NewLocal(d.store, "default", nil), "server": d.client()}
}

func (d *desk) create(user string) *session.Session {
	d.t.Helper()
	s, err := d.manager.Create(d.t.Context(), session.CreateRequest{
		User: user, Metadata: state.Metadata{Address: netip.MustParseAddr("10.0.0.7"), UserAgent: "<agent>"},
		Data: map[string]json.RawMessage{"k": json.RawMessage(`"value of ` + user + `"`)},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// text is everything that a call returned, to compare.
func text(v any, err error) string {
	b, marshalErr := json.Marshal(v)
	return fmt.Sprintf("%s %v %v", b, err, marshalErr)
}

func collect(seq func(func(admin.Session, error) bool)) (all []admin.Session, err error) {
	for s, e := range seq {
		if e != nil {
			return all, e
		}
		all = append(all, s)
	}
	return all, nil
}

// Whoever asks the server gets what whoever has the store gets, errors too.
func TestTheServerAnswersAsTheStoreDoes(t *testing.T) {
	d := newDesk(t)
	var refs []state.Ref
	for _, user := range []string{"ann", "ann", "bob", ""} {
		refs = append(refs, d.create(user).Ref)
	}
	slices.SortFunc(refs, state.Ref.Compare)
	gone := d.create("eve")
	if _, err := d.manager.Revoke(t.Context(), gone.Ref, state.ReasonRevoked, "somebody"); err != nil {
		t.Fatal(err)
	}
	never, err := state.ParseRef("0000000000000000000000000020")
	if err != nil {
		t.Fatal(err)
	}
	ann, nobody, idle := "ann", "", session.Idle
	at := time.Now().Add(-time.Hour)
	local, server := d.both()["store"], d.both()["server"]
	for name, q := range map[string]admin.Query{
		"all":     {},
		"user":    {Query: session.Query{User: &ann}},
		"nobody":  {Query: session.Query{User: &nobody}},
		"state":   {Query: session.Query{State: &idle}},
		"owner":   {Query: session.Query{Owner: "x"}},
		"address": {Query: session.Query{Address: state.InPrefix(netip.MustParsePrefix("10.0.0.0/8"))}},
		"other":   {Query: session.Query{Address: state.InPrefix(netip.MustParsePrefix("11.0.0.0/8"))}},
		"after":   {Query: session.Query{CreatedFrom: at}},
		"before":  {Query: session.Query{CreatedBefore: at}},
		"page":    {Query: session.Query{After: refs[0], Max: 2}},
		"kind":    {Kind: "basket"},
		"no kind": {Kind: "NO KIND"},
	} {
		want, wantErr := collect(local.List(t.Context(), q))
		got, gotErr := collect(server.List(t.Context(), q))
		if text(got, gotErr) != text(want, wantErr) {
			t.Errorf("list %s:\n%s, want\n%s", name, text(got, gotErr), text(want, wantErr))
		}
	}
	if all, _ := collect(server.List(t.Context(), admin.Query{})); len(all) != 4 {
		t.Errorf("%d are listed", len(all))
	}
	for _, ref := range append(refs, gone.Ref, never) {
		for _, data := range []bool{true, false} {
			want, wantErr := local.Show(t.Context(), ref, data)
			got, gotErr := server.Show(t.Context(), ref, data)
			if text(got, gotErr) != text(want, wantErr) || errors.Is(gotErr, session.ErrNotFound) != errors.Is(wantErr, session.ErrNotFound) {
				t.Errorf("show %v:\n%s, want\n%s", ref, text(got, gotErr), text(want, wantErr))
			}
			if gotErr == nil && (len(got.Data) > 0) != data {
				t.Errorf("show with data %v: %v", data, got.Data)
			}
		}
		want, wantErr := local.Explain(t.Context(), ref)
		got, gotErr := server.Explain(t.Context(), ref)
		if text(got, gotErr) != text(want, wantErr) {
			t.Errorf("explain %v:\n%s, want\n%s", ref, text(got, gotErr), text(want, wantErr))
		}
	}
}

func TestTheServerRevokes(t *testing.T) {
	d := newDesk(t)
	c := d.client()
	one, ann, bob := d.create("eve"), d.create("ann"), d.create("bob")
	for want := range []bool{false, true} { // the second time it has ended before
		ended, err := c.Revoke(t.Context(), one.Ref, "cli:tester")
		if err != nil || ended != (want == 0) {
			t.Errorf("revoke: %v, %v", ended, err)
		}
	}
	e, err := c.Explain(t.Context(), one.Ref)
	if err != nil || e.By != "cli:tester" || e.Reason != string(state.ReasonRevoked) {
		t.Errorf("explained %+v, %v", e, err)
	}
	never, _ := state.ParseRef("0000000000000000000000000020")
	if _, err := c.Revoke(t.Context(), never, "x"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("revoke of what never was: %v", err)
	}
	user := "ann"
	for _, step := range []struct {
		which admin.Revocation
		n     int
	}{
		{admin.Revocation{All: true, Before: time.Now().Add(-time.Hour)}, 0},
		{admin.Revocation{User: &user}, 1},
		{admin.Revocation{User: &user}, 0},
		{admin.Revocation{All: true, Kind: "basket"}, 0},
		{admin.Revocation{All: true}, 1},
	} {
		if n, err := c.RevokeMany(t.Context(), step.which); err != nil || n != step.n {
			t.Errorf("revoke %+v: %d, %v", step.which, n, err)
		}
	}
	empty := ""
	for _, which := range []admin.Revocation{{}, {All: true, User: &user}, {User: &empty}, {User: &user, Before: time.Now()}} {
		if n, err := c.RevokeMany(t.Context(), which); !errors.Is(err, session.ErrInvalid) || n != 0 {
			t.Errorf("revoke %+v: %d, %v", which, n, err)
		}
	}
	for _, s := range []*session.Session{ann, bob} {
		if _, err := d.manager.Lookup(t.Context(), s.Ref); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s lives: %v", s.User, err)
		}
	}
	if len(d.ended) != 3 {
		t.Errorf("the server noticed %d endings", len(d.ended))
	}
}

// A watch hears of what happens, and ends when the server drains.
func TestTheServerIsWatched(t *testing.T) {
	for how, s := range newDesk(t).both() {
		_, err := s.Watch(t.Context(), "NO KIND")
		if !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%s: %v", how, err)
		}
	}
	d := newDesk(t)
	changes, err := d.client().Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s := d.create("ann")
	if _, err := d.client().Revoke(t.Context(), s.Ref, "me"); err != nil {
		t.Fatal(err)
	}
	var heard []string
	for ch, err := range changes {
		if err != nil {
			if !errors.Is(err, admin.ErrServerEnded) {
				t.Errorf("the watch ended: %v", err)
			}
			break
		}
		if ch.Change == "beat" {
			continue
		}
		if ch.Ref == nil || *ch.Ref != s.Ref {
			t.Errorf("heard %+v", ch)
		}
		if heard = append(heard, ch.Change+" "+ch.By); ch.Change == "deleted" {
			d.handler.Drain()
		}
	}
	if want := []string{"created ", "deleted me"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

func TestTheServerExaminesItsStore(t *testing.T) {
	var results []string
	for f, err := range newDesk(t).client().Doctor(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, f.Result+" "+f.Detail+" "+f.Hint)
	}
	if want := []string{"ok fine ", "warning not so fine do"}; !slices.Equal(results, want) {
		t.Errorf("found %q", results)
	}
}

func TestOnlyWhoMayReachesTheAPI(t *testing.T) {
	d := newDesk(t)
	s := d.create("ann")
	const revokeAll = `{"all":true}`
	bearer := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
	with := func(name, value string) http.Header {
		h := bearer.Clone()
		h.Set(name, value)
		return h
	}
	for _, c := range []struct {
		what, method, path, body string
		header                   http.Header
		want                     int
	}{
		{"no token", "GET", "/api/sessions", "", nil, 401},
		{"no token", "GET", "/api/sessions/" + s.Ref.String(), "", nil, 401},
		{"no token", "DELETE", "/api/sessions/" + s.Ref.String(), "", nil, 401},
		{"no token", "POST", "/api/sessions/revoke", revokeAll, http.Header{"Content-Type": {"application/json"}}, 401},
		{"no token", "GET", "/api/sessions/watch", "", nil, 401},
		{"no token", "POST", "/api/doctor", "{}", nil, 401},
		{"wrong token", "GET", "/api/sessions", "", with("Authorization", "Bearer no"), 401},
		{"another site", "POST", "/api/sessions/revoke", revokeAll, with("Origin", "https://evil.example"), 403},
		{"another site", "POST", "/api/sessions/revoke", revokeAll, with("Sec-Fetch-Site", "cross-site"), 403},
		{"another port", "POST", "/api/sessions/revoke", revokeAll, with("Sec-Fetch-Site", "same-site"), 403},
		{"another site", "GET", "/api/sessions", "", with("Sec-Fetch-Site", "cross-site"), 403},
		{"another name", "GET", "/api/sessions", "", with("Host", "evil.example"), 403},
		{"another name", "DELETE", "/api/sessions/" + s.Ref.String(), "", with("Host", "evil.example"), 403},
		{"a form", "POST", "/api/sessions/revoke", revokeAll, with("Content-Type", "text/plain"), 415},
		{"a form", "POST", "/api/doctor", "", with("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"reading revokes nothing", "GET", "/api/sessions/revoke", "", bearer, 400},
		{"no object", "POST", "/api/sessions/revoke", "[]", bearer, 400},
		{"a typing mistake", "POST", "/api/sessions/revoke", `{"all":true,"befor":"2026-01-01T00:00:00Z"}`, bearer, 400},
		{"too much", "POST", "/api/sessions/revoke", `{"kind":"` + strings.Repeat("x", 1<<20) + `"}`, bearer, 400},
		{"no ref", "DELETE", "/api/sessions/nonsense", "", bearer, 400},
		{"no parameter", "GET", "/api/sessions?usr=ann", "", bearer, 400},
		{"no address", "GET", "/api/sessions?address=x", "", bearer, 400},
		{"no time", "GET", "/api/sessions?created_after=x", "", bearer, 400},
		{"no number", "GET", "/api/sessions?max=-1", "", bearer, 400},
		{"no state", "GET", "/api/sessions?state=x", "", bearer, 400},
		{"its own page", "GET", "/api/sessions", "", with("Sec-Fetch-Site", "same-origin"), 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, d.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = c.header
		if host := c.header.Get("Host"); host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.want {
			t.Errorf("%s: %s %s = %d %s, want %d", c.what, c.method, c.path, resp.StatusCode, body, c.want)
		}
		if c.want != 200 && strings.Contains(string(body), "ann") {
			t.Errorf("%s: %s %s tells %s", c.what, c.method, c.path, body)
		}
	}
	if _, err := d.manager.Lookup(t.Context(), s.Ref); err != nil {
		t.Errorf("the session ended: %v", err)
	}
}

func TestAClientSaysWhatIsWrong(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8081", "ftp://h", "http://", "http://ann:secret@h", "http://h?token=secret"} {
		if _, err := admin.NewClient(url, admin.ClientOptions{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	d := newDesk(t)
	for name, want := range map[string]string{"": "wants the token", "wrong": "wants the token"} {
		c, err := admin.NewClient(d.url, admin.ClientOptions{Token: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Show(t.Context(), state.Ref{}, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("token %q: %v", name, err)
		}
	}
	other := httptest.NewServer(http.NotFoundHandler())
	c, err := admin.NewClient(other.URL, admin.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(c.List(t.Context(), admin.Query{})); err == nil || !strings.Contains(err.Error(), "no admin listener") {
		t.Errorf("another server: %v", err)
	}
	other.Close()
	if _, err := collect(c.List(t.Context(), admin.Query{})); err == nil || !strings.Contains(err.Error(), other.URL) {
		t.Errorf("no server: %v", err)
	}
}
