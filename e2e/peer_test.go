package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// result is what a client got from a tool.
type result struct {
	Structured map[string]any `json:"structuredContent"`
	IsError    bool           `json:"isError"`
	Content    []struct {
		Text string `json:"text"`
	} `json:"content"`
}

func (r result) text() string {
	var texts []string
	for _, c := range r.Content {
		texts = append(texts, c.Text)
	}
	return strings.Join(texts, "\n")
}

// event is what a client was told without having asked.
type event struct {
	Event  string `json:"event"`
	Method string `json:"method"`
	Params struct {
		URI string `json:"uri"`
	} `json:"params"`
	Message  string  `json:"message"`
	Progress float64 `json:"progress"`
	Total    float64 `json:"total"`
	How      string  `json:"how"`
}

// events collects events.
type events struct {
	mu  sync.Mutex
	all []event
}

func (e *events) add(ev event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// count returns how many events there were that match.
func (e *events) count(match func(event) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.all {
		if match(ev) {
			n++
		}
	}
	return n
}

func named(name string) func(event) bool { return func(ev event) bool { return ev.Event == name } }

func updated(uri string) func(event) bool {
	return func(ev event) bool {
		return ev.Event == "notification" && ev.Method == "notifications/resources/updated" && ev.Params.URI == uri
	}
}

// A peer is a client that somebody else wrote. Its methods may be called
// concurrently.
type peer interface {
	// connect connects, in the era the peer was made for.
	connect(url, token string) error
	// session returns the session id, empty in the modern era.
	session() string
	tools() ([]string, error)
	call(tool string, args map[string]any) (result, error)
	// watch subscribes to a resource.
	watch(uri string) error
	read(uri string) (string, error)
	// terminate ends the session on the server.
	terminate() error
	seen() *events
}

// A client makes peers.
type client struct {
	name   string
	modern bool
	peer   func(t testing.TB) peer
}

var clients = []client{
	{"TypeScript SDK 1.x", false, func(t testing.TB) peer { return newNode(t, "v1.mjs", "legacy") }},
	{"TypeScript SDK 2.x legacy", false, func(t testing.TB) peer { return newNode(t, "v2.mjs", "legacy") }},
	{"TypeScript SDK 2.x modern", true, func(t testing.TB) peer { return newNode(t, "v2.mjs", "auto") }},
	{"Go SDK legacy", false, func(t testing.TB) peer { return newGo(t, "2025-11-25") }},
	{"Go SDK modern", true, func(t testing.TB) peer { return newGo(t, "2026-07-28") }},
}

// ask calls a tool that must succeed.
func ask(t testing.TB, p peer, tool string, args map[string]any) result {
	t.Helper()
	r, err := p.call(tool, args)
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	if r.IsError {
		t.Fatalf("%s: tool error: %s", tool, r.text())
	}
	return r
}

// items are those of a basket.
func items(t testing.TB, r result) string {
	t.Helper()
	list, ok := r.Structured["items"].([]any)
	if !ok {
		t.Fatalf("no items in %v", r.Structured)
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}

// remote is an error that a client reports.
type remote struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Code    any    `json:"code"`
	Status  any    `json:"status"`
}

func (e *remote) Error() string {
	text, err := json.Marshal(e)
	if err != nil {
		return e.Message
	}
	return string(text)
}
