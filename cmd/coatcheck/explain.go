package main

import (
	"github.com/coatcheck-mcp/coatcheck/admin"
)

type explainCmd struct {
	sessionsFlags `embed:""`

	Ref string `arg:"" help:"The session, by the first part of its id."`
}

func (c *explainCmd) Run(a *app) error {
	ref, err := parseRef(c.Ref)
	if err != nil {
		return err
	}
	return c.with(a.ctx, func(sessions admin.Sessions) error {
		e, err := sessions.Explain(a.ctx, ref)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		if err := p.line(e, e.Text); err != nil {
			return err
		}
		return p.flush()
	})
}
