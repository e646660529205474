package gosdk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// restoreTimeout bounds how long the first request waits for subscriptions to
// be restored; they go on behind it.
const restoreTimeout = 5 * time.Second

// acquire returns the live session of s, made live if it is not, for a request
// that must leave it. Of racing requests one activates and the others wait. If
// it turns out to be live elsewhere, the error is errElsewhere.
func (h *Handler) acquire(r *http.Request, s *session.Session) (*live, error) {
	for {
		l, added, err := h.live.find(s.Ref, func() *live { return newLive(h, s.Ref, s.User) })
		if err != nil {
			return nil, err
		}
		if added {
			h.activate(l, r, creation{snapshot: s})
		}
		if err := wait(r.Context(), l.ready); err != nil {
			return nil, err
		}
		if l.err != nil {
			return nil, l.err
		}
		if l.epoch < s.Epoch || l.stranded() {
			h.lose(l) // the record has moved on since, or may have
		}
		if l.enter(r.Method) {
			return l, nil
		}
		if err := wait(r.Context(), l.gone); err != nil {
			return nil, err
		}
		if h.opts.Cluster != nil {
			return nil, errElsewhere // perhaps: it has to be read again
		}
	}
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A creation is what a session is made live from.
type creation struct {
	snapshot *session.Session // as it was read for the request; nil if it is new
	session  *session.Session // as it is
	server   *mcp.Server
}

// activate connects a session that has just been registered.
func (h *Handler) activate(l *live, r *http.Request, c creation) {
	// Others may wait for this activation, so it does not end with r.
	ctx := context.WithoutCancel(r.Context())
	reactivated := c.snapshot != nil
	var err error
	if reactivated {
		c, err = h.recall(ctx, c.snapshot, r)
	}
	if err == nil {
		err = h.connect(ctx, l, r, c, reactivated)
	}
	if err != nil {
		h.live.remove(l)
		l.err = err
		close(l.gone)
	}
	close(l.ready)
}

// recall reads the record of a session, and finds a server for it. What was
// read before the session was registered may have been overtaken by an end of
// which nobody told it; from now on the watch does. And a former owner may have
// written until the session became this replica's.
func (h *Handler) recall(ctx context.Context, snapshot *session.Session, r *http.Request) (creation, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := h.own(ctx, snapshot); err != nil {
		return creation{}, err
	}
	s, err := h.manager.Lookup(ctx, snapshot.Ref)
	if err != nil {
		return creation{}, err
	}
	if !h.owns(s) {
		return creation{}, errElsewhere
	}
	server := h.serverFor(r)
	if server == nil {
		return creation{}, streamable.BadRequest("no server available")
	}
	return creation{session: s, server: server}, nil
}

func (h *Handler) connect(ctx context.Context, l *live, r *http.Request, c creation, reactivated bool) error {
	s := c.session
	v, err := savedIn(s)
	if err != nil {
		return err
	}
	now := time.Now()
	l.mu.Lock()
	l.saved, l.used, l.touched, l.deadline = v, now, now, absolute(s, now)
	l.mu.Unlock()
	l.versions = h.versionsOf(c.server)
	l.reactivated, l.epoch = reactivated, s.Epoch
	l.events = newEvents(h.opts.Events, h.key(l.ref), s.Epoch, &h.opts, h.spawn)
	l.events.fenced = func() { h.lose(l) }
	l.tr = &mcp.StreamableServerTransport{SessionID: l.ref.String(), EventStore: l.events}

	t := &transport{StreamableServerTransport: l.tr, live: l}
	var opts mcp.ServerSessionOptions
	if reactivated {
		if opts.State, err = v.state(); err != nil {
			return err
		}
		if t.injected, err = subscriptions(v.Subscriptions, r); err != nil {
			return err
		}
	}
	ctx = context.WithValue(ctx, sessionKey{}, &Session{live: l})
	if l.ss, err = c.server.Connect(ctx, t, &opts); err != nil {
		return fmt.Errorf("connect session %s: %w", l.ref, err)
	}
	select {
	case <-l.conn.restored:
	case <-time.After(restoreTimeout):
		h.log.Warn("subscriptions of a re-activated session take long to restore", "ref", l.ref)
	}
	return nil
}

// absolute returns when the session's absolute lifetime is over, on this
// process's clock: the store said how much is left.
func absolute(s *session.Session, now time.Time) time.Time {
	return now.Add(s.Remaining + s.AbsoluteDeadline.Sub(s.Expires()))
}

// subscriptions returns requests that subscribe to the resources again. Their
// ids are ones that no client can guess.
func subscriptions(uris []string, r *http.Request) ([]*jsonrpc.Request, error) {
	prefix := rand.Text()
	extra := &mcp.RequestExtra{TokenInfo: auth.TokenInfoFromContext(r.Context()), Header: r.Header}
	var out []*jsonrpc.Request
	for i, uri := range uris {
		params, err := json.Marshal(mcp.SubscribeParams{URI: uri})
		if err != nil {
			return nil, fmt.Errorf("encode a subscription: %w", err)
		}
		id, err := jsonrpc.MakeID(fmt.Sprintf("%s-%d", prefix, i))
		if err != nil {
			return nil, fmt.Errorf("name a subscription: %w", err)
		}
		out = append(out, &jsonrpc.Request{ID: id, Method: "resources/subscribe", Params: params, Extra: extra})
	}
	return out, nil
}

// versionsOf returns which legacy revisions the server speaks. Finding out
// costs some microseconds, so the answer for the last server is kept.
func (h *Handler) versionsOf(server *mcp.Server) []string {
	if last := h.lastServer.Load(); last != nil && last.server == server {
		return last.versions
	}
	v := &spoken{server: server, versions: serverVersions(server)}
	h.lastServer.Store(v)
	return v.versions
}

type spoken struct {
	server   *mcp.Server
	versions []string
}
