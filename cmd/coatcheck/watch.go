package main

import (
	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/state"
)

type watchCmd struct {
	sessionsFlags `embed:""`

	Kind string `default:"session" help:"What to watch: session, basket, note, or any other kind of record."`
}

func (c *watchCmd) Run(a *app) error {
	if err := checkKind(c.Kind); err != nil {
		return err
	}
	return c.with(a.ctx, func(sessions admin.Sessions) error {
		changes, err := sessions.Watch(a.ctx, c.Kind)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		for ch, err := range changes {
			if err != nil {
				return err
			}
			if ch.Change == state.Beat.String() {
				continue
			}
			if err := c.print(p, ch); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *watchCmd) print(p *printer, ch admin.Change) error {
	ref := "some changes may have been missed"
	if ch.Ref != nil {
		ref = ch.Ref.String()
	}
	if err := p.line(ch, clock(ch.At), ch.Change, ref, ch.Reason, ch.By); err != nil {
		return err
	}
	// Whoever watches wants it now, not aligned.
	return p.flush()
}
