package gosdk

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A request of a session reaches any replica:
//
//	        ┌─────────────────── read the record again ◀─────────────────┐
//	        ▼            live elsewhere                 moved or given    │
//	access ─▶ where is it? ──────────▶ forward to its owner ─────────────┤
//	             │    │ nowhere, or its owner is gone   │ answered       │ lost the race
//	        here │    └─────▶ own it: raise the epoch ──┼────────────────┘
//	             ▼                    │                 ▼
//	       serve it here ◀────────────┘               done
//
// A forwarded request is not forwarded again. A replica that is not the owner
// says so, and whoever forwarded it reads the record again.

// lostOnTheWay is what is said of a request whose owner died over it.
const lostOnTheWay = "the replica that served this request is gone: its outcome is unknown, try again if that is safe"

// atOwner has a request served where its session is live: by here, if that is
// this replica or none. here may be called again after errElsewhere.
func (h *Handler) atOwner(w http.ResponseWriter, r *http.Request, s *session.Session, body []byte, here func(*session.Session) error) error {
	c := h.opts.Cluster
	if c == nil {
		return here(s)
	}
	if !meant(r, s) {
		return cluster.ErrMoved
	}
	began := time.Now()
	for {
		place, err := c.Locate(r.Context(), s.Owner)
		if err != nil {
			return err
		}
		err = h.tryAt(place, w, r, s, body, here)
		switch {
		case !errors.Is(err, errElsewhere):
			return err
		case cameFrom(r) != "":
			return cluster.ErrMoved
		case time.Since(began) > c.Patience():
			return unavailable()
		case errors.Is(err, cluster.ErrUndelivered):
			if err := c.Settle(r.Context(), place.Member); err != nil {
				return err
			}
		}
		if s, err = h.manager.Lookup(r.Context(), s.Ref); err != nil {
			return err
		}
	}
}

// patiently tries a GET again that cannot be served just now. A stream can wait,
// and some clients give their session up when they are told 503 as they resume
// one: the official Go SDK does.
func (h *Handler) patiently(r *http.Request, serve func() error) error {
	began := time.Now()
	for {
		err := serve()
		if err == nil || h.opts.Cluster == nil || refusalFor(err).Status != http.StatusServiceUnavailable ||
			errors.Is(err, cluster.ErrMoved) || errors.Is(err, cluster.ErrTake) || time.Since(began) > h.opts.Cluster.Patience() {
			return err
		}
		select {
		case <-time.After(lookAgain):
		case <-h.sessionless.cut.Done(): // nothing waits for the end of a drain
			return err
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}

// tryAt makes one attempt. errElsewhere asks for another.
func (h *Handler) tryAt(place cluster.Place, w http.ResponseWriter, r *http.Request, s *session.Session, body []byte, here func(*session.Session) error) error {
	if place.Where == cluster.Elsewhere {
		return h.forward(w, r, place.Member, s.Ref, body)
	}
	if cameFrom(r) != "" && place.Where != cluster.Here {
		return errElsewhere
	}
	if to := h.heir(r, s); to != "" {
		return h.bequeath(r, s, to)
	}
	return here(s)
}

// forward has another replica serve the request. What that refuses is
// errElsewhere, since it has done nothing with it.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, to cluster.Member, ref state.Ref, body []byte) error {
	if cameFrom(r) != "" {
		return errElsewhere
	}
	stream := r.Method == http.MethodGet
	if !stream {
		h.passing.Add(1)
		defer h.passing.Add(-1)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if stream {
		defer context.AfterFunc(h.sessionless.cut, cancel)()
	}
	err := h.opts.Cluster.Forward(w, r.WithContext(ctx), to, cluster.Forwarding{Ref: ref, Client: clientOf(r), Body: body})
	switch {
	case errors.Is(err, cluster.ErrMoved), errors.Is(err, cluster.ErrTake), errors.Is(err, cluster.ErrUndelivered):
		return errors.Join(errElsewhere, err)
	case errors.Is(err, cluster.ErrLost) && stream:
		return errors.Join(errElsewhere, cluster.ErrUndelivered) // reading twice does no harm
	case errors.Is(err, cluster.ErrLost):
		return &streamable.Refusal{Status: http.StatusBadGateway, Text: lostOnTheWay, RetryAfter: retryAfter}
	}
	return err
}

// passOn has any other replica serve a request that belongs to no session,
// because this one drains. What one refuses, having done nothing with it, is
// put to the next. If there is none, it is refused.
func (h *Handler) passOn(w http.ResponseWriter, r *http.Request, body []byte) error {
	if h.opts.Cluster == nil || cameFrom(r) != "" {
		return draining()
	}
	for _, to := range h.others(r.Context()) {
		if err := h.forward(w, r, to, state.Ref{}, body); !errors.Is(err, errElsewhere) {
			return err
		}
	}
	return draining()
}

// another returns a random other replica that takes sessions.
func (h *Handler) another(ctx context.Context) (cluster.Member, bool) {
	others := h.others(ctx)
	if len(others) == 0 {
		return cluster.Member{}, false
	}
	return others[0], true
}

// others returns the other replicas that take sessions, in random order.
func (h *Handler) others(ctx context.Context) []cluster.Member {
	members, err := h.opts.Cluster.Members(ctx)
	if err != nil {
		return nil
	}
	others := slices.DeleteFunc(members, func(m cluster.Member) bool {
		return m.Self || m.Lapsed || m.State != cluster.Serving || m.Advertise == ""
	})
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return others
}
