package gosdk

import (
	"context"
	"net/http"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// serveModern lets the SDK's sessionless handler serve a request of the
// 2026-07-28 revision. A session id has no meaning there; it is not passed on.
func (h *Handler) serveModern(w http.ResponseWriter, r *http.Request) error {
	// A subscription lives until somebody ends it: a drain does not wait for
	// it, but ends it when the calls have ended.
	listens := r.Header.Get(streamable.HeaderMethod) == "subscriptions/listen"
	if !h.sessionless.enter(!listens) {
		body, err := streamable.ReadBody(w, r, h.opts.MaxRequestBodyBytes)
		if err != nil {
			return err
		}
		return h.passOn(w, r, body)
	}
	defer h.sessionless.leave(!listens)
	r = withRef(r, nil)
	ctx := r.Context()
	if h.opts.Cluster != nil {
		ctx = context.WithValue(ctx, handlerKey{}, h)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.sessionless.cut, cancel)()
	h.modern.ServeHTTP(w, r.WithContext(ctx))
	return nil
}
