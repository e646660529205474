package gosdk

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		h.arrivals.Add(1)
		defer h.arrivals.Add(-1)
	}
	if err := h.serve(w, r); err != nil {
		if worthLogging(err) {
			h.log.WarnContext(r.Context(), "could not serve a request", "method", r.Method, "error", err)
		}
		refuse(w, r, err)
	}
}

// serve answers the request, or returns why it does not.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	r, forwarded, err := h.arrive(r)
	if err != nil {
		return err
	}
	if !forwarded { // what was, has been checked where it came in
		if err := h.guard.Check(r); err != nil {
			return err
		}
	}
	version, err := streamable.Version(r)
	if err != nil {
		return err
	}
	if streamable.Modern(version) {
		return h.serveModern(w, r)
	}
	if _, ok := h.versions[version]; !ok && version != "" {
		return unsupportedVersion(legacyVersions())
	}
	switch r.Method {
	case http.MethodPost:
		return h.post(w, r, version)
	case http.MethodGet:
		return h.get(w, r, version)
	case http.MethodDelete:
		return h.delete(w, r)
	}
	return streamable.MethodNotAllowed("GET, POST, DELETE")
}

// post serves messages of the client's.
func (h *Handler) post(w http.ResponseWriter, r *http.Request, version string) error {
	if err := streamable.CheckPOST(r); err != nil {
		return err
	}
	text, err := streamable.SessionID(r)
	if err != nil {
		return err
	}
	if text == "" {
		return h.postWithoutSession(w, r)
	}
	s, err := h.access(r, text)
	if err != nil {
		return err
	}
	body, err := streamable.ReadBody(w, r, h.opts.MaxRequestBodyBytes)
	if err != nil {
		return err
	}
	return h.atOwner(w, r, s, body, func(s *session.Session) error { return h.postHere(w, r, s, version, body) })
}

func (h *Handler) postHere(w http.ResponseWriter, r *http.Request, s *session.Session, version string, body []byte) error {
	m, _ := streamable.Scan(body)
	if h.live.isClosed() && !h.admittedWhileDraining(s, &m) {
		return draining()
	}
	r = withRef(r, s)
	l, err := h.acquire(r, s)
	if err != nil {
		return err
	}
	defer l.leave(r.Method)
	x := &exchange{Context: r.Context(), live: l, kind: posted}
	if err := h.outline(x, body, &m); err != nil {
		return err
	}
	body = hideMethod(body, &m, r.Header)
	return h.exchange(w, r, x, version, body)
}

// outline notes what the answer to the body will be, and stores that the
// client is initialized before it is told that its message arrived.
func (h *Handler) outline(x *exchange, body []byte, m *streamable.Message) error {
	messages := []streamable.Message{*m}
	if m.Batch {
		x.batch = true
		messages = outlines(body)
	} else if m.Call() {
		x.tag = callTag(m.ID)
	}
	for _, m := range messages {
		if m.Call() {
			x.calls++
		}
		if m.Is("notifications/initialized") {
			if err := x.live.initialized(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// outlines returns the outlines of the messages of a batch; of what is none,
// nothing.
func outlines(body []byte) []streamable.Message {
	var batch []json.RawMessage
	if json.Unmarshal(body, &batch) != nil {
		return nil
	}
	out := make([]streamable.Message, len(batch))
	for i, raw := range batch {
		out[i], _ = streamable.Scan(raw)
	}
	return out
}

// get serves the standalone stream, or what is left of another.
func (h *Handler) get(w http.ResponseWriter, r *http.Request, version string) error {
	if err := streamable.CheckGET(r); err != nil {
		return err
	}
	return h.patiently(r, func() error {
		s, err := h.accessRequired(r, "Bad Request: GET requires an Mcp-Session-Id header")
		if err != nil {
			return err
		}
		return h.atOwner(w, r, s, nil, func(s *session.Session) error { return h.getHere(w, r, s, version) })
	})
}

func (h *Handler) getHere(w http.ResponseWriter, r *http.Request, s *session.Session, version string) error {
	if h.live.isClosed() && !h.keptWhileDraining(s) {
		return draining()
	}
	x := &exchange{Context: r.Context(), kind: standalone}
	resumes := len(r.Header[streamable.HeaderLastEventID]) > 0
	if resumes {
		id, ok := parseEventID(r.Header.Get(streamable.HeaderLastEventID))
		if !ok || len(r.Header[streamable.HeaderLastEventID]) > 1 {
			return streamable.BadRequest("malformed Last-Event-ID")
		}
		x.resume = id
		if id.stream != "" {
			x.kind, x.tag = resumed, callTag(id.call)
		}
	}
	r = withRef(r, s)
	l, err := h.acquire(r, s)
	if err != nil {
		return err
	}
	defer l.leave(r.Method)
	x.live = l
	if h.opts.Cluster != nil {
		defer x.sit()()
		if err := x.takeSeat(); err != nil {
			return err
		}
	}
	defer l.events.release(x)
	from := x.resume.String()
	switch {
	case x.kind == resumed:
		l.events.resuming(x)
	default:
		if from, err = l.events.resumeFrom(x, x, resumes); err != nil {
			return err
		}
	}
	if from == "" {
		r.Header.Del(streamable.HeaderLastEventID)
	} else {
		r.Header[streamable.HeaderLastEventID] = []string{from}
	}
	return h.exchange(w, r, x, version, nil)
}

// delete ends a session for its client.
func (h *Handler) delete(w http.ResponseWriter, r *http.Request) error {
	s, err := h.accessRequired(r, "Bad Request: DELETE requires an Mcp-Session-Id header")
	if err != nil {
		return err
	}
	if err := h.manager.Delete(r.Context(), s.ID); err != nil {
		return err
	}
	if l := h.live.get(s.Ref); l != nil {
		h.end(l)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// exchange lets the SDK serve the request. The caller has entered x.live.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, x *exchange, version string, body []byte) error {
	if version != "" {
		if !slices.Contains(x.live.versions, version) {
			return unsupportedVersion(x.live.versions)
		}
		x.version = h.versions[version]
	}
	if h.opts.Cluster != nil && x.seat == nil {
		defer x.sit()()
	}
	x.out.init(w, x)
	r = r.WithContext(x)
	if body != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
	}
	if x.calls > 0 {
		x.out.watch()
	}
	x.live.tr.ServeHTTP(&x.out, r)
	there := x.out.finish() && x.Err() == nil
	if x.kind != standalone {
		x.live.events.requestOver(x, there, x.out.refused() && x.kind == posted)
	}
	if x.again {
		return errElsewhere
	}
	return nil
}

// access returns the session that the client presents, if it is the caller's.
func (h *Handler) access(r *http.Request, text string) (*session.Session, error) {
	user, err := h.opts.Principal(r)
	if err != nil {
		return nil, &streamable.Refusal{Status: http.StatusUnauthorized, Text: "not authenticated"}
	}
	id, err := session.ParseID(text)
	if err != nil {
		return nil, err
	}
	if err := h.confirmed(); err != nil {
		return nil, err
	}
	return h.manager.AccessBy(r.Context(), id, h.opts.Collector.Caller(r, user))
}

// confirmed is an error while this replica may serve no session, whatever the
// store would say: it is not asked then, since it may not answer for long.
func (h *Handler) confirmed() error {
	if c := h.opts.Cluster; c != nil && !c.Confirmed() {
		return cluster.ErrUnconfirmed
	}
	return nil
}

func (h *Handler) accessRequired(r *http.Request, missing string) (*session.Session, error) {
	text, err := streamable.SessionID(r)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, streamable.BadRequest(missing)
	}
	return h.access(r, text)
}

// withRef returns a copy of the request that names the session by its ref, so
// that the secret reaches neither the SDK nor a tool.
func withRef(r *http.Request, s *session.Session) *http.Request {
	c := new(http.Request)
	*c = *r
	c.Header = make(http.Header, len(r.Header)+1)
	maps.Copy(c.Header, r.Header)
	delete(c.Header, methodHeader)
	if s == nil {
		delete(c.Header, streamable.HeaderSession)
	} else {
		c.Header[streamable.HeaderSession] = []string{s.Ref.String()}
	}
	return c
}
