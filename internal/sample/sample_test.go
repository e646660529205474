package sample_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/auth"
	"github.com/coatcheck-mcp/coatcheck/internal/sample"
	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

// shop is a sample that is served.
type shop struct {
	t     *testing.T
	url   string
	store *memory.Store
	clock *clock
}

// clock is the store's, set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, clock: &clock{now: state.Cut(time.Now())}}
	s.store = memory.New(memory.Options{Clock: s.clock.Now})
	m, err := session.NewManager(s.store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shop, err := sample.New(sample.Options{Sessions: m, Replica: func() string { return "r1" }})
	if err != nil {
		t.Fatal(err)
	}
	h, err := gosdk.NewHandler(func(*http.Request) *mcp.Server { return shop.Server() }, m, &gosdk.Options{Events: s.store})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.ParseTokens(strings.NewReader("token-of-ann ann\ntoken-of-bob bob\n"))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(tokens.Middleware(h))
	s.url = srv.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, err := range []error{h.Drain(ctx), h.Close(), s.store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
		srv.Close()
	})
	return s
}

// bearer adds a user's token to each request.
type bearer struct{ user string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token-of-"+b.user)
	return http.DefaultTransport.RoundTrip(r)
}

func (s *shop) enter(user, version string, opts *mcp.ClientOptions) *mcp.ClientSession {
	s.t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, opts)
	cs, err := client.Connect(s.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: s.url, HTTPClient: &http.Client{Transport: bearer{user}}},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := cs.Close(); err != nil {
			s.t.Errorf("close client: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return cs
}

// answer is a tool's result: its fields, or the text of its error.
type answer struct {
	fields map[string]any
	fault  string
}

func call(t *testing.T, cs *mcp.ClientSession, tool string, args map[string]any) answer {
	t.Helper()
	res, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	if res.IsError {
		return answer{fault: res.Content[0].(*mcp.TextContent).Text}
	}
	fields, ok := res.StructuredContent.(map[string]any)
	if !ok {
		t.Fatalf("%s: structured content is a %T", tool, res.StructuredContent)
	}
	return answer{fields: fields}
}

func expect(t *testing.T, got answer, want string) {
	t.Helper()
	if fmt.Sprint(got.fields) != want || got.fault != "" {
		t.Errorf("got %v %q, want %s", got.fields, got.fault, want)
	}
}

func expectFault(t *testing.T, got answer, want string) {
	t.Helper()
	if !strings.Contains(got.fault, want) {
		t.Errorf("got %v %q, want a tool error with %q", got.fields, got.fault, want)
	}
}

type args = map[string]any

func TestSessionsOwnBasket(t *testing.T) {
	s := open(t)
	ann, also := s.enter("ann", legacy, nil), s.enter("ann", legacy, nil)
	expect(t, call(t, ann, "view_basket", args{}), "map[items:[]]")
	expect(t, call(t, ann, "add_item", args{"item": " hat "}), "map[items:[hat]]")
	expect(t, call(t, ann, "add_item", args{"item": "hat"}), "map[items:[hat hat]]")
	expect(t, call(t, also, "view_basket", args{}), "map[items:[]]")
}

func TestModernClientsAreToldToCreateABasket(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", modern, nil)
	expectFault(t, call(t, ann, "view_basket", args{}), "create_basket")
	expectFault(t, call(t, ann, "add_item", args{"item": "hat"}), "create_basket")
}

func TestBasketsGoWithTheirMakerOverSessionsAndEras(t *testing.T) {
	s := open(t)
	for _, version := range []string{legacy, modern} {
		ann := s.enter("ann", version, nil)
		id := call(t, ann, "create_basket", args{}).fields["basket_id"]
		expect(t, call(t, ann, "view_basket", args{"basket_id": id}), "map[items:[]]")
		expect(t, call(t, ann, "add_item", args{"basket_id": id, "item": "hat"}), "map[items:[hat]]")
		for _, other := range []string{legacy, modern} {
			expect(t, call(t, s.enter("ann", other, nil), "view_basket", args{"basket_id": id}), "map[items:[hat]]")
			bob := s.enter("bob", other, nil)
			expectFault(t, call(t, bob, "view_basket", args{"basket_id": id}), "no such basket")
			expectFault(t, call(t, bob, "add_item", args{"basket_id": id, "item": "theft"}), "no such basket")
		}
	}
}

func TestBasketIDsThatOpenNothing(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", legacy, nil)
	id := call(t, ann, "create_basket", args{}).fields["basket_id"].(string)
	ref, secret, _ := strings.Cut(id, ".")
	for name, wrong := range map[string]string{
		"nonsense": "nonsense", "without its secret": ref, "cut": id[:len(id)-1], "secret alone": secret,
		"a session's": ann.ID() + "." + secret, "huge": strings.Repeat("x", 1<<16),
	} {
		if got := call(t, ann, "view_basket", args{"basket_id": wrong}); !strings.Contains(got.fault, "call create_basket") {
			t.Errorf("%s: %v %q", name, got.fields, got.fault)
		}
	}
	s.clock.advance(25 * time.Hour)
	expectFault(t, call(t, s.enter("ann", modern, nil), "view_basket", args{"basket_id": id}), "no such basket")
}

func TestBasketsAreBounded(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", legacy, nil)
	for _, item := range []string{"", "  ", strings.Repeat("x", 201)} {
		expectFault(t, call(t, ann, "add_item", args{"item": item}), "1 to 200 bytes")
	}
	expectFault(t, call(t, ann, "add_item", args{}), "item")
	expectFault(t, call(t, ann, "add_item", args{"item": "hat", "colour": "red"}), "colour")
	expectFault(t, call(t, ann, "add_item", args{"item": "a\x00b"}), "U+0000")
	id := call(t, ann, "create_basket", args{}).fields["basket_id"]
	for range 500 {
		call(t, ann, "add_item", args{"item": "hat", "basket_id": id})
	}
	expectFault(t, call(t, ann, "add_item", args{"item": "hat", "basket_id": id}), "full")
}

func TestItemsAreNotLostWhenAddedAtOnce(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", legacy, nil)
	id := call(t, ann, "create_basket", args{}).fields["basket_id"]
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for _, in := range []args{{"item": fmt.Sprint(i)}, {"item": fmt.Sprint(i), "basket_id": id}} {
				if _, err := ann.CallTool(t.Context(), &mcp.CallToolParams{Name: "add_item", Arguments: in}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, in := range []args{{}, {"basket_id": id}} {
		if got := call(t, ann, "view_basket", in).fields["items"].([]any); len(got) != 20 {
			t.Errorf("%d items, want 20", len(got))
		}
	}
}

func TestNotes(t *testing.T) {
	s := open(t)
	ann, bob := s.enter("ann", legacy, nil), s.enter("bob", modern, nil)
	read := func(uri string) (string, error) {
		res, err := bob.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err != nil {
			return "", err
		}
		return res.Contents[0].Text, nil
	}
	for title, uri := range map[string]string{
		"menu": "note:///menu", "for ann & bob": "note:///for%20ann%20%26%20bob", "a/b": "note:///a%2Fb",
		"50%": "note:///50%25", "übung": "note:///%C3%BCbung", "a+b": "note:///a%2Bb",
	} {
		if _, err := read(uri); err == nil {
			t.Errorf("%s is there before it was saved", uri)
		}
		for _, text := range []string{"first", "second", ""} {
			expect(t, call(t, ann, "save_note", args{"title": title, "text": text}), "map[uri:"+uri+"]")
			if got, err := read(uri); err != nil || got != text {
				t.Errorf("%s says %q, %v; want %q", uri, got, err, text)
			}
		}
	}
	for _, title := range []string{"", strings.Repeat("x", 201), "two\nlines", "\x7f"} {
		expectFault(t, call(t, ann, "save_note", args{"title": title, "text": "x"}), "a title has")
	}
	expectFault(t, call(t, ann, "save_note", args{"title": "long", "text": strings.Repeat("x", 100<<10+1)}), "a text has at most")
	for _, uri := range []string{"note:///", "note:///%FF", "note://menu", "note:///" + strings.Repeat("x", 201)} {
		var wire *jsonrpc.Error
		if _, err := read(uri); !errors.As(err, &wire) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestNotesSavedAtOnceMeetInOneRecord(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", modern, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			res, err := ann.CallTool(t.Context(), &mcp.CallToolParams{Name: "save_note", Arguments: args{"title": "menu", "text": "soup"}})
			if err != nil || res.IsError {
				t.Errorf("save_note: %+v, %v", res, err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, err := range s.store.List(t.Context(), state.Query{Namespace: "default", Kind: "note"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

func TestARevokedNoteStaysGone(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", legacy, nil)
	call(t, ann, "save_note", args{"title": "menu", "text": "soup"})
	notes, err := session.NewManager(s.store, session.Options{Kind: "note"})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := notes.RevokeAll(t.Context(), "test", time.Time{}); n != 1 || err != nil {
		t.Fatalf("revoked %d, %v", n, err)
	}
	expectFault(t, call(t, ann, "save_note", args{"title": "menu", "text": "stew"}), "use another title")
}

func TestSubscriptions(t *testing.T) {
	s := open(t)
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			told := make(chan string, 10)
			bob := s.enter("bob", version, &mcp.ClientOptions{
				ResourceUpdatedHandler: func(_ context.Context, req *mcp.ResourceUpdatedNotificationRequest) { told <- req.Params.URI },
			})
			title := "menu of " + version
			uri := "note:///menu%20of%20" + version
			if err := bob.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}); err != nil {
				t.Fatal(err)
			}
			ann := s.enter("ann", legacy, nil)
			call(t, ann, "save_note", args{"title": "something else", "text": "x"})
			call(t, ann, "save_note", args{"title": title, "text": "soup"})
			select {
			case got := <-told:
				if got != uri {
					t.Errorf("told of %s, want %s", got, uri)
				}
			case <-time.After(time.Minute):
				t.Error("not told")
			}
		})
	}
}

func TestSubscriptionsToOtherSpellingsAreRefused(t *testing.T) {
	ann := open(t).enter("ann", legacy, nil)
	for uri, want := range map[string]string{"note:///%6Denu": "note:///menu", "other:///x": "not found"} {
		err := ann.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", uri, err, want)
		}
	}
}
