package gosdk

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wire records what reaches the network, and when.
type wire struct {
	*httptest.ResponseRecorder
	flushes  []string // the body at each flush
	deadline time.Time
}

func (w *wire) FlushError() error {
	w.flushes = append(w.flushes, w.Body.String())
	return nil
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func newTestResponse(t *testing.T, k kind) (*response, *wire) {
	t.Helper()
	h := &Handler{ctx: context.Background()}
	l := newLive(h, ref(t), "")
	l.events = newEvents(nil, keyOf(l.ref), 0, &Options{}, func(f func()) { f() })
	x := &exchange{Context: context.Background(), live: l, kind: k, calls: 1, tag: callTag([]byte("7"))}
	w := &wire{ResponseRecorder: httptest.NewRecorder()}
	x.out.init(w, x)
	return &x.out, w
}

// write writes an event as the SDK does.
func write(t *testing.T, o *response, name, id, data string) {
	t.Helper()
	text := "event: " + name + "\n"
	if id != "" {
		text += "id: " + id + "\n"
	}
	if _, err := o.Write([]byte(text + "data: " + data + "\n\n")); err != nil {
		t.Fatal(err)
	}
	if err := http.NewResponseController(o).Flush(); err != nil {
		t.Fatal(err)
	}
}

const answer7 = `{"jsonrpc":"2.0","id":7,"result":{}}`

func TestAPrimingEventLeavesWithTheAnswerInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newTestResponse(t, posted)
		o.watch()
		write(t, o, "prime", "S_0", "")
		time.Sleep(primeAfter / 2)
		synctest.Wait()
		if w.Body.Len() > 0 || len(w.flushes) > 0 {
			t.Errorf("sent early: %q", w.Body)
		}
		write(t, o, "message", "S_1", answer7)
		if len(w.flushes) != 1 {
			t.Errorf("%d flushes", len(w.flushes))
		}
		if !o.finish() {
			t.Error("finish: the client did not take it")
		}
		want := "event: prime\nid: S.37_0\ndata: \n\nevent: message\nid: S.37_1\ndata: " + answer7 + "\n\n"
		if w.Body.String() != want {
			t.Errorf("sent %q, want %q", w.Body, want)
		}
		if got := w.Header().Get("Content-Length"); got != fmt.Sprint(len(want)) {
			t.Errorf("Content-Length %q for %d bytes", got, len(want))
		}
	})
}

func TestAPrimingEventIsSentWhenTheAnswerTakesLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newTestResponse(t, posted)
		o.watch()
		write(t, o, "prime", "S_0", "")
		time.Sleep(primeAfter)
		synctest.Wait()
		if len(w.flushes) != 1 || !strings.Contains(w.flushes[0], "S.37_0") {
			t.Errorf("flushed: %q", w.flushes)
		}
		write(t, o, "message", "S_1", `{"jsonrpc":"2.0","method":"notifications/progress"}`)
		write(t, o, "message", "S_2", `{"jsonrpc":"2.0","id":9,"method":"roots/list"}`)
		write(t, o, "message", "S_3", answer7)
		if len(w.flushes) != 4 {
			t.Errorf("%d flushes", len(w.flushes))
		}
		if got := w.Header().Get("Content-Length"); got != "" {
			t.Errorf("Content-Length %q of a stream", got)
		}
		o.finish()
		time.Sleep(2 * longAfter) // the timer is stopped: synctest would find it
		if _, err := o.Write([]byte("late")); err == nil {
			t.Error("something may be written after the end")
		}
	})
}

func TestAnInitializeIsPrimedOnlyWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newTestResponse(t, posted)
		o.x.id = "the-id"
		o.watch()
		o.Header().Set("Mcp-Session-Id", "the-ref")
		write(t, o, "prime", "S_0", "")
		time.Sleep(10 * longAfter)
		synctest.Wait()
		if w.Body.Len() > 0 {
			t.Error("the header was sent before the outcome was known")
		}
		o.x.live.opened(true)
		write(t, o, "message", "S_1", answer7)
		o.finish()
		if got := w.Header().Get("Mcp-Session-Id"); got != "the-id" {
			t.Errorf("session header %q", got)
		}
	})
}

func TestTheSDKsRefNeverReachesTheClient(t *testing.T) {
	o, w := newTestResponse(t, posted)
	o.Header().Set("Mcp-Session-Id", "the-ref")
	write(t, o, "message", "S_1", answer7)
	o.finish()
	if _, ok := w.Header()["Mcp-Session-Id"]; ok {
		t.Error("a response that is no initialize names a session")
	}
}

func TestA404OfTheSDKIsNotForSessionsThatLive(t *testing.T) {
	for _, ended := range []bool{false, true} {
		o, w := newTestResponse(t, posted)
		o.x.live.closing, o.x.live.ended = true, ended
		http.Error(o, "session is closing", 404)
		o.finish()
		want := map[bool]int{false: 503, true: 404}[ended]
		if w.Code != want || strings.Contains(w.Body.String(), "closing") {
			t.Errorf("ended %v: %d %q", ended, w.Code, w.Body)
		}
	}
}

func TestASessionClosedUnderACallSaysSo(t *testing.T) {
	for _, ended := range []bool{false, true} {
		o, w := newTestResponse(t, posted)
		write(t, o, "prime", "S_0", "")
		o.x.live.closing, o.x.live.ended = true, ended
		o.finish()
		want := map[bool]int{false: 503, true: 404}[ended]
		if w.Code != want || strings.Contains(w.Body.String(), "prime") {
			t.Errorf("ended %v: %d %q", ended, w.Code, w.Body)
		}
	}
}

func TestStandaloneStreamsHaveADeadlineWhileTheyAreWritten(t *testing.T) {
	o, w := newTestResponse(t, standalone)
	if _, err := o.Write([]byte("event: message\nid: _4\ndata: {}\n\n")); err != nil {
		t.Fatal(err)
	}
	if w.deadline.IsZero() {
		t.Error("a client that does not read blocks the write for ever")
	}
	if err := o.FlushError(); err != nil {
		t.Fatal(err)
	}
	if !w.deadline.IsZero() {
		t.Error("the deadline outlasts the write")
	}
	if got := o.x.live.events.delivered; got != 4 {
		t.Errorf("delivered up to %d", got)
	}
	if strings.Contains(w.Body.String(), ".37") {
		t.Error("a call is named on the standalone stream")
	}
}

func TestEventIDs(t *testing.T) {
	for _, call := range []string{`1`, `-7`, `"a_b.c"`, `"é\""`, `1e3`} {
		text := "STREAM" + callTag([]byte(call)) + "_12"
		id, ok := parseEventID(text)
		if !ok || id.stream != "STREAM" || id.index != 12 || string(id.call) != call || id.String() != "STREAM_12" {
			t.Errorf("%s: %+v %v", call, id, ok)
		}
	}
	if callTag([]byte(strings.Repeat("1", maxCallID+1))) != "" {
		t.Error("a long id is put into event ids")
	}
}

func FuzzParseEventID(f *testing.F) {
	f.Add("S.37_0")
	f.Add("_1")
	f.Add("x.zz_1")
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := parseEventID(text)
		if !ok {
			return
		}
		back := id.stream
		if id.call != nil {
			back += callTag(id.call)
		}
		if back += fmt.Sprintf("_%d", id.index); !strings.EqualFold(back, text) {
			t.Errorf("%q is read as %q", text, back)
		}
	})
}

func TestAnswersAreTold(t *testing.T) {
	for message, want := range map[string]string{
		answer7: "7",
		`{"jsonrpc":"2.0","id":"a,\"b","result":{}}`:   `"a,\"b"`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":0}}`:  "1",
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:     "",
		`{"jsonrpc":"2.0","method":"x","params":{}}`:   "",
		`{"jsonrpc":"2.0","id":"`:                      "",
		`{"jsonrpc":"2.0","id":`:                       "",
		`{"jsonrpc":"2.0","id":,"result":{}}`:          "",
		``:                                             "",
		`{"jsonrpc":"2.0","id":1,"resultat":"result"}`: "",
	} {
		id, ok := answers([]byte(message))
		if ok != (want != "") || ok && string(id) != want {
			t.Errorf("%s: %q %v", message, id, ok)
		}
	}
}
