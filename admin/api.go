package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// The API answers in JSON: one object, or one a line where there may be many.
// Since a list is sent as it is read, an error in the middle of it is its last
// line, an object with "error".
//
//	GET    /api/sessions            list; kind, user, state, owner, address,
//	                                created_after, created_before, after, max
//	GET    /api/sessions/watch      changes, until the client goes; kind
//	GET    /api/sessions/{ref}      one that lives; data=true with its values
//	GET    /api/sessions/{ref}/explanation
//	DELETE /api/sessions/{ref}      revoke; by
//	POST   /api/sessions/revoke     revoke many: a Revocation
//	POST   /api/doctor              examine the store
//
// A page in a browser is to do nothing here, unless it was served here: see
// fromElsewhere. What changes something is no request that a form could send.

func (h *Handler) routes() {
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /api/sessions":                   h.list,
		"GET /api/sessions/watch":             h.watch,
		"GET /api/sessions/{ref}":             h.show,
		"GET /api/sessions/{ref}/explanation": h.explain,
		"DELETE /api/sessions/{ref}":          h.revoke,
		"POST /api/sessions/revoke":           h.revokeMany,
	} {
		if h.opts.Sessions != nil {
			h.mux.Handle(pattern, h.api(serve))
		}
	}
	if h.opts.Doctor != nil {
		h.mux.Handle("POST /api/doctor", h.api(h.doctor))
	}
}

// api guards a part of the API and answers its error.
func (h *Handler) api(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return h.authorized(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fromElsewhere(r) {
			http.Error(w, "web pages of other sites may not call this", http.StatusForbidden)
			return
		}
		if r.Method == http.MethodPost && !isJSON(r) {
			http.Error(w, "the body must be application/json", http.StatusUnsupportedMediaType)
			return
		}
		if err := serve(w, r); err != nil {
			answerError(w, err)
		}
	}))
}

// fromElsewhere reports whether a browser sends the request for a page of
// another site. Others than browsers do not send the header.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

func isJSON(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

// A failure is an error as the API tells it.
type failure struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// codes are the kinds of errors that a client tells apart, the first that fits.
func codes() []struct {
	code   string
	err    error
	status int
} {
	return []struct {
		code   string
		err    error
		status int
	}{
		{"not_found", session.ErrNotFound, http.StatusNotFound},
		{"invalid", session.ErrInvalid, http.StatusBadRequest},
		{"too_large", session.ErrTooLarge, http.StatusBadRequest},
		{"unsupported", state.ErrUnsupported, http.StatusBadRequest},
		{"unknown_outcome", state.ErrUnknownOutcome, http.StatusServiceUnavailable},
		{"unavailable", state.ErrUnavailable, http.StatusServiceUnavailable},
		{"unavailable", context.DeadlineExceeded, http.StatusServiceUnavailable},
		{"closed", state.ErrClosed, http.StatusServiceUnavailable},
	}
}

func failureOf(err error) (failure, int) {
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			return failure{err.Error(), c.code}, c.status
		}
	}
	return failure{err.Error(), "internal"}, http.StatusInternalServerError
}

func answerError(w http.ResponseWriter, err error) {
	f, status := failureOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // who does not hear it is gone
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = encoder(w).Encode(v) // who does not hear it is gone
	return nil
}

func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// lines writes JSON objects as they come.
type lines struct {
	w     http.ResponseWriter
	enc   *json.Encoder
	begun bool
}

func newLines(w http.ResponseWriter) *lines { return &lines{w: w, enc: encoder(w)} }

func (l *lines) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lines) write(v any) error {
	l.begin()
	return l.enc.Encode(v)
}

// flush sends what was written.
func (l *lines) flush() error {
	l.begin()
	return http.NewResponseController(l.w).Flush()
}

// end answers an error: as such if nothing was sent yet, else as a last line.
func (l *lines) end(err error) error {
	if err == nil {
		l.begin()
		return nil
	}
	if !l.begun {
		return err
	}
	f, _ := failureOf(err)
	_ = l.enc.Encode(f) // who does not hear it is gone
	return nil
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, stop := h.untilDrain(r.Context())
	defer stop()
	out := newLines(w)
	for s, err := range h.opts.Sessions.List(ctx, q) {
		if err != nil {
			return out.end(err)
		}
		if out.write(s) != nil {
			return nil // the client is gone
		}
	}
	return out.end(nil)
}

func parseRef(text string) (state.Ref, error) {
	ref, err := state.ParseRef(text)
	if err != nil {
		return ref, &state.InvalidError{What: "ref", Why: "write one as the list has it"}
	}
	return ref, nil
}

// parseQuery reads the parameters of a list.
func parseQuery(values url.Values) (q Query, err error) {
	invalid := func(name, why string) error { return &state.InvalidError{What: name, Why: why} }
	for name, given := range values {
		value := given[0]
		switch name {
		case "kind":
			q.Kind = value
		case "user":
			q.User = &value
		case "owner":
			q.Owner = value
		case "state":
			s, err := session.ParseState(value)
			if err != nil {
				return q, err
			}
			q.State = &s
		case "address":
			net, err := netip.ParsePrefix(value)
			if err != nil {
				return q, invalid(name, "write a network such as 10.0.0.0/8")
			}
			q.Address = state.InPrefix(net)
		case "created_after", "created_before":
			t, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return q, invalid(name, "write a time such as 2026-11-23T15:04:05Z")
			}
			if name == "created_after" {
				q.CreatedFrom = t
			} else {
				q.CreatedBefore = t
			}
		case "after":
			if q.After, err = parseRef(value); err != nil {
				return q, err
			}
		case "max":
			if q.Max, err = strconv.Atoi(value); err != nil || q.Max < 0 {
				return q, invalid(name, "write how many, or leave it out for all")
			}
		default:
			return q, invalid("parameter", fmt.Sprintf("%q is not known", name))
		}
	}
	return q, nil
}

// encodeQuery is the reverse of parseQuery.
func encodeQuery(q Query) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("kind", q.Kind)
	set("owner", q.Owner)
	if q.User != nil {
		v.Set("user", *q.User)
	}
	if q.State != nil {
		v.Set("state", q.State.String())
	}
	if net, ok := q.Address.Prefix(); ok {
		v.Set("address", net.String())
	}
	if !q.CreatedFrom.IsZero() {
		v.Set("created_after", q.CreatedFrom.UTC().Format(time.RFC3339Nano))
	}
	if !q.CreatedBefore.IsZero() {
		v.Set("created_before", q.CreatedBefore.UTC().Format(time.RFC3339Nano))
	}
	if !q.After.IsZero() {
		v.Set("after", q.After.String())
	}
	if q.Max > 0 {
		v.Set("max", strconv.Itoa(q.Max))
	}
	return v
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request) error {
	ref, err := parseRef(r.PathValue("ref"))
	if err != nil {
		return err
	}
	d, err := h.opts.Sessions.Show(r.Context(), ref, r.URL.Query().Get("data") == "true")
	if err != nil {
		return err
	}
	return answer(w, d)
}

func (h *Handler) explain(w http.ResponseWriter, r *http.Request) error {
	ref, err := parseRef(r.PathValue("ref"))
	if err != nil {
		return err
	}
	e, err := h.opts.Sessions.Explain(r.Context(), ref)
	if err != nil {
		return err
	}
	return answer(w, e)
}

// Revoked says how many sessions were ended.
type Revoked struct {
	Revoked int    `json:"revoked"`
	By      string `json:"by"`
}

func (h *Handler) revoke(w http.ResponseWriter, r *http.Request) error {
	ref, err := parseRef(r.PathValue("ref"))
	if err != nil {
		return err
	}
	by := who(r.URL.Query().Get("by"))
	ended, err := h.opts.Sessions.Revoke(r.Context(), ref, by)
	if err != nil {
		return err
	}
	out := Revoked{By: by}
	if ended {
		out.Revoked = 1
	}
	return answer(w, out)
}

// maxBody is more than a Revocation takes.
const maxBody = 16 << 10

func (h *Handler) revokeMany(w http.ResponseWriter, r *http.Request) error {
	var which Revocation
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	body.DisallowUnknownFields()
	if err := body.Decode(&which); err != nil {
		return &state.InvalidError{What: "revocation", Why: "the body must be an object with user, or all and before, and kind and by"}
	}
	if err := which.Check(); err != nil {
		return err
	}
	which.By = who(which.By)
	n, err := h.opts.Sessions.RevokeMany(r.Context(), which)
	if err != nil {
		return err
	}
	return answer(w, Revoked{Revoked: n, By: which.By})
}

// who is the name under which an ending is remembered. It is what the client
// says: who may call this may say anything.
func who(by string) string {
	if by == "" {
		return "admin"
	}
	return by
}

func (h *Handler) watch(w http.ResponseWriter, r *http.Request) error {
	ctx, stop := h.untilDrain(r.Context())
	defer stop()
	changes, err := h.opts.Sessions.Watch(ctx, r.URL.Query().Get("kind"))
	if err != nil {
		return err
	}
	out := newLines(w)
	if out.flush() != nil {
		return nil // the client is gone
	}
	for ch, err := range changes {
		if err != nil {
			return out.end(err)
		}
		if out.write(ch) != nil || out.flush() != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// untilDrain ends with the request, and when the process drains, which must not
// wait for who watches.
func (h *Handler) untilDrain(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.life, cancel)
	return ctx, func() { stop(); cancel() }
}

func (h *Handler) doctor(w http.ResponseWriter, r *http.Request) error {
	out := newLines(w)
	err := h.opts.Doctor(r.Context(), func(f Finding) error {
		if err := out.write(f); err != nil {
			return err
		}
		return out.flush()
	})
	return out.end(err)
}
