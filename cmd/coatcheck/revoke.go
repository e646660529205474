package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/audit"
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

func (c *revokeCmd) Run(a *app) (err error) {
	if err := c.checkSelection(); err != nil {
		return err
	}
	log, err := c.audits(a)
	if err != nil {
		return err
	}
	if log != nil {
		c.observe = log.Observe
		defer func() { err = errors.Join(err, log.Close()) }()
	}
	return c.with(a.ctx, func(sessions admin.Sessions) error {
		by := operator()
		n, err := c.revoke(a.ctx, sessions, by)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		if err := p.line(admin.Revoked{Revoked: n, By: by}, fmt.Sprintf("revoked %d", n)); err != nil {
			return err
		}
		return p.flush()
	})
}

// audits opens the audit log, unless a server ends the sessions: that keeps its
// own.
func (c *revokeCmd) audits(a *app) (*audit.Log, error) {
	if c.Admin != "" {
		return nil, nil
	}
	return c.openAudit(slog.New(slog.NewTextHandler(a.stderr, nil)), nil)
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
	return checkKind(c.Kind)
}

func (c *revokeCmd) revoke(ctx context.Context, sessions admin.Sessions, by string) (int, error) {
	if c.Ref == "" {
		return sessions.RevokeMany(ctx, admin.Revocation{Kind: c.Kind, User: c.User, All: c.All, Before: time.Time(c.Before), By: by})
	}
	ref, err := parseRef(c.Ref)
	if err != nil {
		return 0, err
	}
	ended, err := sessions.Revoke(ctx, ref, by)
	if ended {
		return 1, err
	}
	return 0, err
}
