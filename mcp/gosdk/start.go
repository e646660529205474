package gosdk

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// postWithoutSession serves a POST that names no session and no modern
// revision: an initialize, or a message of the modern era without its header,
// which that era's handler refuses as it should be.
func (h *Handler) postWithoutSession(w http.ResponseWriter, r *http.Request) error {
	body, err := streamable.ReadBody(w, r, h.opts.MaxRequestBodyBytes)
	if err != nil {
		return err
	}
	if h.live.isClosed() {
		return h.passOn(w, r, body)
	}
	m, ok := streamable.Scan(body)
	if !ok {
		return streamable.BadRequest("malformed payload: not a JSON-RPC message")
	}
	open, valid := opening(body)
	switch {
	case m.Is("server/discover"), open.modern():
		return h.serveModern(w, withBody(r, body))
	case !m.Is("initialize"):
		return streamable.BadRequest("Bad Request: Mcp-Session-Id header is required")
	case !m.Call() || !valid:
		// The sessionless handler says what is wrong with it.
		return h.serveModern(w, withBody(r, body))
	}
	return h.start(w, r, body, &m, open)
}

// An open is the message that opens a session.
type open struct {
	Params json.RawMessage `json:"params"`
	params *mcp.InitializeParams
	meta   string // the revision in _meta
}

// opening parses a message; it is valid if its params are those of an
// initialize.
func opening(body []byte) (open, bool) {
	var o open
	if json.Unmarshal(body, &o) != nil {
		return o, false
	}
	var params struct {
		Meta map[string]json.RawMessage `json:"_meta"`
	}
	if json.Unmarshal(o.Params, &params) == nil {
		_ = json.Unmarshal(params.Meta[mcp.MetaKeyProtocolVersion], &o.meta) // no string is no revision
	}
	var err error
	o.params, err = initializeParams(o.Params)
	return o, err == nil
}

func (o *open) modern() bool { return streamable.Modern(o.meta) }

// start makes a session and lets the SDK answer the initialize. If that fails,
// the session is ended again.
func (h *Handler) start(w http.ResponseWriter, r *http.Request, body []byte, m *streamable.Message, o open) error {
	user, err := h.opts.Principal(r)
	if err != nil {
		return &streamable.Refusal{Status: http.StatusUnauthorized, Text: "not authenticated"}
	}
	r = withRef(r, nil)
	server := h.serverFor(r)
	if server == nil {
		return streamable.BadRequest("no server available")
	}
	req, err := h.createRequest(r, user, o, h.versionsOf(server))
	if err != nil {
		return err
	}
	s, err := h.create(r, req)
	if err != nil {
		return err
	}
	l, _, err := h.live.find(s.Ref, func() *live { return newLive(h, s.Ref, s.User) })
	if err != nil {
		h.fail(r, s)
		return err
	}
	h.activate(l, r, creation{session: s, server: server})
	if l.err != nil {
		h.fail(r, s)
		return l.err
	}
	if !l.enter(r.Method) {
		return session.ErrNotFound // ended in this moment
	}
	defer l.leave(r.Method)
	x := &exchange{Context: r.Context(), live: l, kind: posted, calls: 1, tag: callTag(m.ID), id: s.ID.Reveal()}
	err = h.exchange(w, r, x, r.Header.Get(streamable.HeaderVersion), body)
	if err != nil || !l.isConfirmed() {
		h.end(l)
		h.fail(r, s)
	}
	return err
}

// createRequest says what the session is to be. Its revision is the one that
// the server will negotiate, so that nothing has to be written again.
func (h *Handler) createRequest(r *http.Request, user string, o open, versions []string) (session.CreateRequest, error) {
	v := saved{Initialize: o.Params, Version: negotiated(o.params.ProtocolVersion, versions)}
	data, err := json.Marshal(v)
	if err != nil {
		return session.CreateRequest{}, streamable.BadRequest("params of initialize are not valid JSON")
	}
	md := h.opts.Collector.Collect(r)
	md.ProtocolVersion = v.Version
	var params struct {
		Capabilities json.RawMessage `json:"capabilities"`
	}
	if json.Unmarshal(o.Params, &params) == nil && string(params.Capabilities) != "null" {
		md.Capabilities = params.Capabilities
	}
	return session.CreateRequest{
		User: user, Metadata: md, Data: map[string]json.RawMessage{savedKey: data},
		Owner:   h.ownerName(),
		FixedID: true, // the answer to initialize is the only place for it
	}, nil
}

// create makes a session that is live here.
func (h *Handler) create(r *http.Request, req session.CreateRequest) (*session.Session, error) {
	if err := h.confirmed(); err != nil {
		return nil, err
	}
	s, err := h.manager.Create(r.Context(), req)
	if err != nil || h.owns(s) {
		return s, err
	}
	if err := h.own(r.Context(), s); err != nil {
		h.fail(r, s)
		return nil, err
	}
	return s, nil
}

// fail ends a session that was never put to use: its client has no id.
func (h *Handler) fail(r *http.Request, s *session.Session) {
	ctx, cancel := detached(r.Context())
	defer cancel()
	if _, err := h.manager.Revoke(ctx, s.Ref, state.ReasonFailed, "initialize"); err != nil {
		h.log.Warn("could not end a session whose initialization failed", "ref", s.Ref, "error", err)
	}
}

func withBody(r *http.Request, body []byte) *http.Request {
	c := new(http.Request)
	*c = *r
	c.Body = io.NopCloser(bytes.NewReader(body))
	return c
}
