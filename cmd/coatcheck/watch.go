package main

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

type watchCmd struct {
	sessionsFlags `embed:""`

	Kind string `default:"session" help:"What to watch: session, basket, note, or any other kind of record."`
}

// change is one report.
type change struct {
	At     time.Time  `json:"at"`
	Change string     `json:"change"`
	Ref    *state.Ref `json:"ref,omitempty"`
	Kind   string     `json:"kind,omitempty"`
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`
}

func (c *watchCmd) Run(a *app) error {
	return c.withStore(a.ctx, func(store state.Store) error {
		m, err := c.manager(store, c.Kind)
		if err != nil {
			return err
		}
		changes, err := m.Watch(a.ctx)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		for ch := range changes {
			if ch.Type == state.Beat || ch.Type != state.Gap && ch.Kind != c.Kind {
				continue
			}
			if err := c.print(p, ch); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *watchCmd) print(p *printer, ch state.Change) error {
	out := change{At: time.Now().UTC().Truncate(state.Precision), Change: ch.Type.String(), Kind: ch.Kind, Reason: string(ch.Reason), By: ch.By}
	ref := "some changes may have been missed"
	if ch.Type != state.Gap {
		out.Ref = &ch.Key.Ref
		ref = ch.Key.Ref.String()
	}
	if err := p.line(out, clock(out.At), out.Change, ref, out.Reason, out.By); err != nil {
		return err
	}
	// Whoever watches wants it now, not aligned.
	return p.flush()
}
