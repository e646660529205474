package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// revokeCmd ends sessions. Its selectors take no environment variables: nobody
// should end all sessions because of a variable.
type revokeCmd struct {
	sessionsFlags `embed:""`
	auditFlags    `embed:""`

	Ref    string  `arg:"" optional:"" help:"The session, by the first part of its id."`
	User   *string `placeholder:"USER" env:"-" help:"All sessions of this user."`
	All    bool    `env:"-" help:"All sessions."`
	Before moment  `placeholder:"TIME" env:"-" help:"With --all: only those created before this time, or longer ago (2h)."`
	Kind   string  `default:"session" env:"-" help:"With --user and --all: what to end; session, basket, note, or any other kind of record."`
}

// revoked is what the command did.
type revoked struct {
	Revoked int    `json:"revoked"`
	By      string `json:"by"`
}

func (c *revokeCmd) Run(a *app) (err error) {
	if err := c.checkSelection(); err != nil {
		return err
	}
	log, err := c.openAudit(slog.New(slog.NewTextHandler(a.stderr, nil)), nil)
	if err != nil {
		return err
	}
	if log != nil {
		c.observe = log.Observe
		defer func() { err = errors.Join(err, log.Close()) }()
	}
	return c.withStore(a.ctx, func(store state.Store) error {
		by := operator()
		n, err := c.revoke(a.ctx, store, by)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		if err := p.line(revoked{Revoked: n, By: by}, fmt.Sprintf("revoked %d", n)); err != nil {
			return err
		}
		return p.flush()
	})
}

func (c *revokeCmd) checkSelection() error {
	given := 0
	for _, is := range []bool{c.Ref != "", c.User != nil, c.All} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return usagef("say what to revoke: write one of REF, --user USER and --all")
	case !time.Time(c.Before).IsZero() && !c.All:
		return usagef("--before goes with --all: write --all --before TIME")
	case c.User != nil && *c.User == "":
		return usagef("--user: write a user; sessions of nobody are ended by REF or --all")
	}
	return nil
}

func (c *revokeCmd) revoke(ctx context.Context, store state.Store, by string) (int, error) {
	if c.Ref != "" {
		return c.revokeOne(ctx, store, by)
	}
	m, err := c.manager(store, c.Kind)
	if err != nil {
		return 0, err
	}
	if c.All {
		return m.RevokeAll(ctx, by, time.Time(c.Before))
	}
	return m.RevokeUser(ctx, *c.User, by)
}

// revokeOne is content if the session has ended before, but not if there is no
// sign that it ever was: that is rather a typing mistake.
func (c *revokeCmd) revokeOne(ctx context.Context, store state.Store, by string) (int, error) {
	ref, err := parseRef(c.Ref)
	if err != nil {
		return 0, err
	}
	m, err := c.managerOf(ctx, store, ref)
	if err != nil {
		return 0, err
	}
	ended, err := m.Revoke(ctx, ref, state.ReasonRevoked, by)
	if err != nil {
		return 0, err
	}
	if ended {
		return 1, nil
	}
	if _, err := m.Explain(ctx, ref); errors.Is(err, session.ErrNotFound) {
		return 0, err
	}
	return 0, nil
}
