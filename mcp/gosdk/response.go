package gosdk

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

const (
	// primeAfter is how long a priming event waits for the answer, so that
	// both leave in one write. It is of use only to a client that loses its
	// connection before the answer, which takes longer than this.
	primeAfter = 50 * time.Millisecond
	// longAfter is when a call counts as long, and its events are stored.
	longAfter = time.Second
	// writeTimeout bounds a write to a standalone stream: a client that does
	// not read would hold up the SDK's notifications to all the others.
	writeTimeout = 30 * time.Second
)

var errFinished = errors.New("the request is over")

// A response is what the SDK writes to. It
//   - turns the ref in Mcp-Session-Id into the id, for the client only;
//   - puts the call into event ids (see callTag);
//   - holds a priming event back for a moment, so that it leaves together with
//     an answer that is quick, as one response of known length in one write;
//   - notes which events of the standalone stream went out;
//   - unwraps events into JSON, where JSON was asked for;
//   - replaces refusals that would mislead the client.
type response struct {
	w  http.ResponseWriter
	rc *http.ResponseController
	x  *exchange

	mu      sync.Mutex // guards all below, and w; held over writes to the client
	status  int        // 0: nothing has been sent
	swallow bool       // the SDK's answer was replaced: drop its body
	over    bool       // the request is over: nothing may be written
	held    []byte     // a priming event that has not been sent
	answer  [][]byte   // in JSON mode: the responses so far
	err     error      // of the first write that failed
	timer   *time.Timer
	long    bool // the timer waits for longAfter, not for primeAfter
}

func (o *response) init(w http.ResponseWriter, x *exchange) {
	o.w, o.x = w, x
	o.rc = http.NewResponseController(w)
}

// Unwrap lets http.ResponseController reach the rest of the writer.
func (o *response) Unwrap() http.ResponseWriter { return o.w }

// Header implements http.ResponseWriter.
func (o *response) Header() http.Header { return o.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (o *response) WriteHeader(status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.begin(status)
	}
}

// begin sends the header, once. o.mu is held.
func (o *response) begin(status int) {
	if o.status != 0 {
		return
	}
	if refusal := o.x.refusal(status); refusal != nil {
		if o.x.mayTryAgain(refusal) {
			o.x.again, o.status, o.swallow = true, status, true
			o.clean()
			return
		}
		o.refuse(refusal)
		return
	}
	o.status = status
	h := o.w.Header()
	if _, ok := h[streamable.HeaderSession]; ok {
		delete(h, streamable.HeaderSession)
		if o.x.id != "" && o.x.live.isConfirmed() {
			h[streamable.HeaderSession] = []string{o.x.id}
		}
	}
	if o.json() && status == http.StatusOK {
		h.Set("Content-Type", "application/json")
	}
	o.w.WriteHeader(status)
}

func (o *response) refuse(refusal *streamable.Refusal) {
	o.clean()
	o.status, o.swallow = refusal.Status, true
	refusal.ServeHTTP(o.w, nil)
}

// clean takes back what the SDK has said of an answer that is not given.
func (o *response) clean() {
	h := o.w.Header()
	for _, name := range []string{streamable.HeaderSession, "Content-Type", "Cache-Control", "Connection", "Content-Length"} {
		h.Del(name)
	}
}

func (o *response) json() bool { return o.x.kind == posted && o.x.live.h.opts.JSONResponse }

// Write implements http.ResponseWriter.
func (o *response) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.over:
		return 0, errFinished
	case o.swallow:
		return len(p), nil
	}
	e, isEvent := parseEvent(p)
	if !isEvent {
		return len(p), o.send(p)
	}
	if o.json() {
		o.collect(e)
		return len(p), nil
	}
	out := o.wire(p, e)
	if string(e.name) == "prime" && o.status == 0 {
		o.held = slices.Clone(out)
		return len(p), nil
	}
	if o.status == 0 && o.isLast(e) {
		o.w.Header()["Content-Length"] = []string{strconv.Itoa(len(out))}
	}
	if err := o.send(out); err != nil {
		return 0, err
	}
	if o.x.kind == standalone {
		o.delivered(e)
	}
	return len(p), nil
}

// isLast reports whether nothing comes behind the event: it answers the only
// call of a POST.
func (o *response) isLast(e event) bool {
	_, isAnswer := answers(e.data)
	return isAnswer && o.x.kind == posted && !o.x.batch
}

// delivered notes that an event of the standalone stream went out.
func (o *response) delivered(e event) {
	if id, ok := parseEventID(string(e.id)); ok {
		o.x.live.events.markDelivered(id.index)
	}
}

// wire returns the event as the client sees it, behind what was held back.
func (o *response) wire(p []byte, e event) []byte {
	tag, split := o.x.tag, slices.Index(e.id, '_')
	if split < 0 || o.x.kind == standalone {
		tag = ""
	}
	if tag == "" && len(o.held) == 0 {
		return p
	}
	out := slices.Grow(o.held, len(p)+len(tag))
	o.held = nil
	if tag == "" {
		return append(out, p...)
	}
	at := e.idEnd - len(e.id) + split
	out = append(out, p[:at]...)
	out = append(out, tag...)
	return append(out, p[at:]...)
}

// send writes to the client. o.mu is held.
func (o *response) send(p []byte) error {
	if o.err != nil {
		return o.err
	}
	o.begin(http.StatusOK)
	if o.swallow {
		return nil
	}
	o.limit(writeTimeout)
	_, o.err = o.w.Write(p)
	return o.err
}

// limit bounds what is written to a standalone stream from now on; zero ends
// the bound. It must not outlast a write: HTTP/2 would reset a stream that is
// silent for so long. Not every writer has deadlines.
func (o *response) limit(d time.Duration) {
	if o.x.kind != standalone {
		return
	}
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = o.rc.SetWriteDeadline(deadline)
}

// Flush and FlushError implement what http.ResponseController looks for.
func (o *response) Flush() { _ = o.FlushError() }

// FlushError implements the flushing that http.ResponseController looks for.
func (o *response) FlushError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	// Nothing sent yet: what is held back is flushed when it is due.
	if o.over || o.swallow || o.status == 0 {
		return nil
	}
	return o.flush()
}

func (o *response) flush() error {
	if o.err == nil {
		o.err = o.rc.Flush()
		o.limit(0)
	}
	return o.err
}

// watch starts the timer of a POST: for what is held back, and for the events
// of a call that turns out to be long.
func (o *response) watch() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timer = time.AfterFunc(primeAfter, o.tick)
}

func (o *response) tick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	if o.long {
		o.x.live.events.keepStreamOf(o.x)
		return
	}
	o.long = true
	o.timer.Reset(longAfter - primeAfter)
	// The answer to an initialize is awaited: the header depends on it, and
	// without the id nothing can be resumed.
	if len(o.held) > 0 && o.x.id == "" {
		p := o.held
		o.held = nil
		if o.send(p) == nil {
			_ = o.flush()
		}
	}
}

// collect keeps a response for the JSON body; in JSON mode nothing else is
// sent. o.mu is held.
func (o *response) collect(e event) {
	if _, isAnswer := answers(e.data); isAnswer {
		o.answer = append(o.answer, slices.Clone(e.data))
	}
}

// finish sends what is left, and allows no writing any more: the SDK has
// returned. It reports whether the client took all that was written.
func (o *response) finish() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	switch {
	case o.status == 0 && len(o.answer) == 0 && o.x.kind == posted && o.x.live.isClosing():
		// The session was closed under the call, and nothing was said yet.
		o.refuse(o.x.unanswered())
	case len(o.answer) > 0:
		_ = o.send(o.body())
	case len(o.held) > 0:
		_ = o.send(o.held)
	default:
		o.begin(http.StatusOK)
	}
	o.limit(0) // the connection lives on
	o.over, o.held, o.answer = true, nil, nil
	return o.err == nil
}

// body returns the JSON body. o.mu is held.
func (o *response) body() []byte {
	if !o.x.batch {
		return o.answer[0]
	}
	body := []byte{'['}
	for i, answer := range o.answer {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, answer...)
	}
	return append(body, ']')
}

// refused reports whether the response is an error status.
func (o *response) refused() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status >= http.StatusBadRequest
}

// standaloneID is an event id of the standalone stream.
func standaloneID(index int64) string { return "_" + strconv.FormatInt(index, 10) }
