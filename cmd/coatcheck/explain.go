package main

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

type explainCmd struct {
	sessionsFlags `embed:""`

	Ref string `arg:"" help:"The session, by the first part of its id."`
}

// explanation is what is known of a record, live or gone.
type explanation struct {
	Ref     state.Ref `json:"ref"`
	Live    bool      `json:"live"`
	Kind    string    `json:"kind"`
	User    string    `json:"user"`
	State   string    `json:"state"` // "ended" for one that is gone
	Created time.Time `json:"created_at"`
	Last    time.Time `json:"last_accessed"`

	Expires *time.Time `json:"expires_at,omitempty"`
	Ended   *time.Time `json:"ended_at,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	By      string     `json:"by,omitempty"`
	Text    string     `json:"text"`
}

func (c *explainCmd) Run(a *app) error {
	ref, err := parseRef(c.Ref)
	if err != nil {
		return err
	}
	return c.withStore(a.ctx, func(store state.Store) error {
		m, err := c.managerOf(a.ctx, store, ref)
		if err != nil {
			return err
		}
		e, err := m.Explain(a.ctx, ref)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		if err := p.line(explain(e), e.String()); err != nil {
			return err
		}
		return p.flush()
	})
}

func explain(e session.Explanation) explanation {
	out := explanation{Ref: e.Ref, Text: e.String()}
	if s := e.Live; s != nil {
		expires := s.Expires()
		out.Live, out.Kind, out.User, out.State = true, s.Kind, s.User, s.State.String()
		out.Created, out.Last, out.Expires = s.Created, s.LastAccessed, &expires
		return out
	}
	if end := e.End; end != nil {
		out.Kind, out.User, out.State = end.Kind, end.User, "ended"
		out.Created, out.Last, out.Ended = end.Created, end.LastAccessed, &end.At
		out.Reason, out.By = string(end.Reason), end.By
	}
	return out
}
