package main

import (
	"net/netip"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

type listCmd struct {
	sessionsFlags `embed:""`

	Kind          string  `default:"session" help:"What to list: session, basket, note, or any other kind of record."`
	User          *string `placeholder:"USER" help:"Only those of this user; \"\" for those of nobody."`
	State         string  `enum:",created,active,idle,expired" default:"" placeholder:"STATE" help:"Only those in this state: created, active, idle or expired (and not yet swept)."`
	Owner         string  `placeholder:"NODE" help:"Only those that are live in this process."`
	Address       prefix  `placeholder:"NET" help:"Only those from this client address or network."`
	CreatedAfter  moment  `placeholder:"TIME" help:"Only those created at or after this time, or so long ago (2h) at most."`
	CreatedBefore moment  `placeholder:"TIME" help:"Only those created before this time, or longer ago."`
	Max           int     `placeholder:"N" help:"At most so many."`
}

func (c *listCmd) Run(a *app) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	return c.with(a.ctx, func(sessions admin.Sessions) error {
		p := newPrinter(a.stdout, c.JSON)
		if err := p.header("REF", "USER", "STATE", "CREATED", "LAST ACCESSED", "EXPIRES", "ADDRESS", "OWNER"); err != nil {
			return err
		}
		for s, err := range sessions.List(a.ctx, q) {
			if err != nil {
				return err
			}
			err = p.line(s, s.Ref.String(), s.User, s.State, clock(s.CreatedAt), clock(s.LastAccessed), clock(s.ExpiresAt), s.Address, s.Owner)
			if err != nil {
				return err
			}
		}
		return p.flush()
	})
}

func (c *listCmd) query() (admin.Query, error) {
	if c.Max < 0 {
		return admin.Query{}, usagef("--max: write how many to list, or leave it out for all")
	}
	if err := checkKind(c.Kind); err != nil {
		return admin.Query{}, err
	}
	q := admin.Query{Kind: c.Kind, Query: session.Query{
		User: c.User, Owner: c.Owner, Max: c.Max,
		CreatedFrom: time.Time(c.CreatedAfter), CreatedBefore: time.Time(c.CreatedBefore),
	}}
	if net := netip.Prefix(c.Address); net.IsValid() {
		q.Address = state.InPrefix(net)
	}
	if c.State != "" {
		s, err := session.ParseState(c.State)
		if err != nil {
			return admin.Query{}, usageError{err}
		}
		q.State = &s
	}
	return q, nil
}
