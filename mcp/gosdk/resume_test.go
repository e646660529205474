package gosdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

const subscribeBody = `{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"note:///a"}}`

// subscribed starts a session that hears of note:///a.
func (w *world) subscribed() *raw {
	w.t.Helper()
	c := w.raw().begin(streamable.V20251125)
	if got := c.post(subscribeBody); got.status != 200 || !strings.Contains(got.body, `"result"`) {
		w.t.Fatalf("subscribe: %d %s", got.status, got.body)
	}
	return c
}

// tell sends a notification with the text to the subscribers.
func (w *world) tell(text string) {
	w.t.Helper()
	err := w.now().server.ResourceUpdated(context.Background(), &mcp.ResourceUpdatedNotificationParams{
		URI: "note:///a", Meta: mcp.Meta{"text": text},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// hears reads events until the one with the text, and returns its id. what lies
// between must not contain any of the texts in not.
func (s *sse) hears(t *testing.T, text string, not ...string) (id string) {
	t.Helper()
	for line := range s.lines {
		if rest, ok := strings.CutPrefix(line, "id: "); ok {
			id = rest
		}
		for _, n := range not {
			if strings.Contains(line, n) {
				t.Fatalf("heard %s: %s", n, line)
			}
		}
		if strings.HasPrefix(line, "data: ") && strings.Contains(line, text) {
			return id
		}
	}
	t.Fatalf("the stream ended before %s", text)
	return ""
}

func (s *sse) close() { _ = s.res.Body.Close() }

// alone waits until no stream is open.
func (w *world) alone() {
	w.t.Helper()
	eventually(w.t, "streams to close", func() bool {
		for _, l := range w.now().handler.live.all() {
			l.mu.Lock()
			n := l.streams + l.posts
			l.mu.Unlock()
			if n > 0 {
				return false
			}
		}
		return true
	})
}

func TestStandaloneStreamResumesAfterRestart(t *testing.T) {
	for name, restart := range map[string]func(*world){"drained": (*world).restart, "killed": (*world).kill} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.subscribed()
			open := c.stream()
			w.streamingOpen()
			w.tell("one")
			w.tell("two")
			seen := open.hears(t, "one")
			open.hears(t, "two")
			open.close()
			w.alone()
			w.tell("three")
			restart(w)

			again := c.with("Last-Event-ID", seen).stream()
			again.hears(t, "two", "one", "three")
			last := again.hears(t, "three")
			w.tell("four")
			four := again.hears(t, "four")
			if four == last || !strings.HasPrefix(four, "_") {
				t.Errorf("event ids do not go on: %s, %s", last, four)
			}
			again.close()
			w.alone()
			// Indexes go on over the restart: each id means one event.
			third := c.with("Last-Event-ID", last).stream()
			if id := third.hears(t, "four", "three"); id != four {
				t.Errorf("the same event had id %s, has %s", four, id)
			}
		})
	}
}

// streamingOpen waits until some standalone stream is inside the SDK.
func (w *world) streamingOpen() {
	w.t.Helper()
	w.streaming(nil)
}

func TestStreamWithoutLastEventIDGetsWhatNobodyGot(t *testing.T) {
	w := newWorld(t)
	c := w.subscribed()
	open := c.stream()
	w.streamingOpen()
	w.tell("one")
	open.hears(t, "one")
	open.close()
	w.alone()
	w.tell("two")
	again := c.stream()
	id := again.hears(t, "two", "one")
	w.tell("three")
	next := again.hears(t, "three")
	if id != "_1" || next != "_2" {
		t.Errorf("event ids %s, %s", id, next)
	}
	again.close()
	w.alone()

	// After a restart it is not known what went out: nothing comes twice.
	w.restart()
	third := c.stream()
	w.streamingOpen()
	w.tell("four")
	third.hears(t, "four", "one", "two", "three")
}

func TestResultOfACallWhoseClientLeft(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	call := c.listen(c.open("POST", callBody(7, "slow", `{"item":"x"}`)))
	<-w.now().tools.started
	seen, ok := call.next("id: ") // the priming event, sent by itself
	if !ok {
		t.Fatal("no priming event")
	}
	call.close()
	w.alone()
	l := w.now().handler.live.all()[0]
	w.now().tools.release()
	eventually(t, "the call to end", func() bool { return !l.running() })
	w.restart()

	again := c.with("Last-Event-ID", seen).stream()
	again.hears(t, `"structuredContent":{"done":"x"}`)
	again.ends()
}

func TestResumingACallThatIsRunning(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	call := c.listen(c.open("POST", callBody(7, "slow", `{"item":"x"}`)))
	<-w.now().tools.started
	seen, _ := call.next("id: ")
	call.close()
	w.alone()
	go func() { // as with the SDK, nothing is sent before the first event
		w.streamingOpen()
		w.now().tools.release()
	}()
	again := c.with("Last-Event-ID", seen).stream()
	again.hears(t, `"structuredContent":{"done":"x"}`)
	again.ends()
}

// TestCallsInFlightAtACrashFailAndTheSessionGoesOn: a client of the SDK's that
// resumes the stream of a call and is refused gives the whole session up.
func TestCallsInFlightAtACrashFailAndTheSessionGoesOn(t *testing.T) {
	w := newWorld(t)
	primed := make(chan struct{})
	p := w.connect(watching("slow", "event: prime", primed))
	p.add("apple")
	done := make(chan error, 1)
	go func() {
		_, err := p.try("slow", item{"x"})
		done <- err
	}()
	<-primed // the client cannot resume what it never heard of
	w.kill()
	err := <-done
	if err == nil || !strings.Contains(err.Error(), "outcome is unknown") {
		t.Errorf("the call in flight: %v", err)
	}
	if got := p.add("pear"); fmt.Sprint(got["items"]) != "[apple pear]" {
		t.Errorf("basket: %v", got)
	}
}

// watching closes seen when the client has read the text in the answer to a call
// of the tool.
func watching(tool, text string, seen chan struct{}) peerOption {
	return func(_ *mcp.ClientOptions, tr *mcp.StreamableClientTransport, _ *mcp.ClientSessionOptions) {
		tr.HTTPClient = &http.Client{Transport: &watcher{tool: tool, text: text, seen: seen}}
	}
}

type watcher struct {
	tool, text string
	seen       chan struct{}
	once       sync.Once
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && bytes.Contains(sent, []byte(`"name":"`+w.tool+`"`)) {
		res.Body = &watched{ReadCloser: res.Body, w: w}
	}
	return res, err
}

type watched struct {
	io.ReadCloser
	w    *watcher
	read []byte
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read = append(b.read, p[:n]...)
	if bytes.Contains(b.read, []byte(b.w.text)) {
		b.w.once.Do(func() { close(b.w.seen) })
	}
	return n, err
}

func TestLongCallsAreStoredAsTheyGo(t *testing.T) {
	w := newWorld(t, withServer(func(w *world) *mcp.Server {
		server := newServer(newTools())
		mcp.AddTool(server, &mcp.Tool{Name: "long"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			for i := range 2 {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "t", Message: fmt.Sprint("step-", i)})
			}
			<-ctx.Done()
			return nil, nil, ctx.Err()
		})
		return server
	}))
	c := w.raw().begin(streamable.V20251125)
	call := c.listen(c.open("POST", callBody(`"seven"`, "long", `{}`)))
	seen := call.hears(t, "step-0")
	call.hears(t, "step-1")
	l := w.now().handler.live.all()[0]
	id, _ := parseEventID(seen)
	eventually(t, "the events to be stored", func() bool {
		_, next, err := w.now().store.Tail(context.Background(), l.events.key, id.stream)
		return err == nil && next == 3
	})
	w.kill()
	again := c.with("Last-Event-ID", seen).stream()
	again.hears(t, "step-1", "step-0")
	data, _ := again.next("data: ")
	var res struct {
		ID    string
		Error *struct{ Message string }
	}
	if err := json.Unmarshal([]byte(data), &res); err != nil || res.ID != "seven" || res.Error == nil {
		t.Errorf("the answer of a lost call: %s", data)
	}
	again.ends()
}

func TestResumingWhatIsNotKeptSaysSo(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	for _, id := range []string{"ABCDEFGHIJKLMNOPQRSTUVWXYZ_0", "x_1"} {
		if got := c.with("Last-Event-ID", id).do("GET", ""); got.status != 400 {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
	}
	for _, id := range []string{"", "_", "x", "_-1", "_01", "a_b_1", "x.zz_1", ".31_0", "x.6e756c6c_0", "_99999999999999999999", strings.Repeat("a", 1000) + "_0"} {
		if got := c.with("Last-Event-ID", id).do("GET", ""); got.status != 400 {
			t.Errorf("malformed %q: %d %s", id, got.status, got.body)
		}
	}
	if got := c.with("Last-Event-ID", "_0").post(pingBody); got.status != 400 {
		t.Errorf("POST with Last-Event-ID: %d", got.status)
	}
}

func TestEventsAreBounded(t *testing.T) {
	for name, option := range map[string]worldOption{
		"stored":    onMemory(memory.Options{}),
		"in memory": func(w *world) { w.noEvents = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, option, withOptions(func(o *Options) { o.EventBounds.Bytes = 8 << 10 }))
			c := w.subscribed()
			open := c.stream()
			w.streamingOpen()
			w.tell("first")
			seen := open.hears(t, "first")
			open.close()
			w.alone()
			for range 100 {
				w.tell(strings.Repeat("x", 500))
			}
			w.tell("last")
			l := w.now().handler.live.all()[0]
			l.events.tend(context.Background(), time.Now().Add(5*time.Minute))
			if got := c.with("Last-Event-ID", seen).do("GET", ""); got.status != 400 {
				t.Errorf("resuming what was trimmed: %d", got.status)
			}
			l.events.mu.Lock()
			size := l.events.size
			l.events.mu.Unlock()
			if size > 8<<10 {
				t.Errorf("%d bytes in memory", size)
			}
			// Without an id the client gets what is left, and goes on.
			again := c.stream()
			again.hears(t, "last", "first")
			w.tell("next")
			again.hears(t, "next")
		})
	}
}

func TestManyQuickCallsKeepLittleInMemory(t *testing.T) {
	w := newWorld(t, onMemory(memory.Options{}))
	c := w.raw().begin(streamable.V20251125)
	for i := range 300 {
		if got := c.post(callBody(i, "add", `{"item":""}`)); got.status != 200 {
			t.Fatal(got)
		}
	}
	w.alone()
	e := w.now().handler.live.all()[0].events
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.streams) != 0 || len(e.finished) > finishedStreams || e.size > finishedBytes {
		t.Errorf("%d streams, %d finished, %d bytes", len(e.streams), len(e.finished), e.size)
	}
	sum := e.standing.size
	for _, s := range e.finished {
		sum += s.size
	}
	if sum != e.size {
		t.Errorf("size is %d, counted %d", e.size, sum)
	}
}

func TestClosedStreamsAreComeBackTo(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := newServer(newTools())
		mcp.AddTool(server, &mcp.Tool{Name: "away"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
			for i := range 2 {
				req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "t", Message: fmt.Sprint("msg", i)})
			}
			return nil, map[string]any{"back": true}, nil
		})
		return server
	}))
	p := w.connect()
	if got := p.call("away", nil); got["back"] != true {
		t.Errorf("got %v", got)
	}
	eventually(t, "progress", p.saw(func() bool { return fmt.Sprint(p.progress) == "[msg0 msg1]" }))
}
