package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// sessionsCmd looks into the store itself, beside a running server or without
// one, or asks a server.
type sessionsCmd struct {
	List    listCmd    `cmd:"" help:"List sessions."`
	Find    findCmd    `cmd:"" help:"Find sessions by what is in their data, in PostgreSQL."`
	Show    showCmd    `cmd:"" help:"Show a session."`
	Explain explainCmd `cmd:"" help:"Say whether a session lives, or when, why and by whom it ended."`
	Watch   watchCmd   `cmd:"" help:"Report what happens to sessions, until interrupted."`
	Revoke  revokeCmd  `cmd:"" help:"End a session, all of a user's, or all."`
	Export  exportCmd  `cmd:"" help:"Write sessions, and all other records, to a file."`
	Import  importCmd  `cmd:"" help:"Read what export has written into a store."`
}

// sessionKind is what the commands speak of if nothing else is asked for.
const sessionKind = admin.DefaultKind

// sessionsFlags are common to the commands of sessions.
type sessionsFlags struct {
	storeFlags `embed:""`
	adminFlags `embed:""`
	JSON       bool `name:"json" help:"Print one JSON object a line."`

	observe func(context.Context, session.Event) // nil: nobody is told
}

// with gives fn the sessions of the store, or of the server if one is named.
func (f *sessionsFlags) with(ctx context.Context, fn func(admin.Sessions) error) error {
	if f.Admin != "" {
		client, err := f.client()
		if err != nil {
			return err
		}
		return fn(client)
	}
	return f.withStore(ctx, func(store state.Store) error {
		return fn(admin.NewLocal(store, f.Namespace, f.observe))
	})
}

// withStore opens the store for fn and closes it.
func (f *storeFlags) withStore(ctx context.Context, fn func(state.Store) error) (err error) {
	p, err := f.outside(ctx)
	if err != nil {
		return err
	}
	store, err := p.openExisting(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return fn(store)
}

// checkKind refuses what cannot be the kind of a record.
func checkKind(kind string) error {
	if err := state.CheckName("kind", kind); err != nil {
		return usagef("--kind: %w", err)
	}
	return nil
}

// parseRef reads a ref that somebody typed. Whoever pastes a whole session id
// is told, and the id is not repeated.
func parseRef(text string) (state.Ref, error) {
	ref, err := state.ParseRef(text)
	if err == nil {
		return ref, nil
	}
	if id, idErr := session.ParseID(text); idErr == nil {
		return state.Ref{}, usagef("this is a whole session id, a secret: write only the part before the dot, %s", id.Ref())
	}
	return state.Ref{}, usagef("this is no ref: write one as \"sessions list\" shows it")
}

// operator is who gives the command, for the records of what it ended.
func operator() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	who := "cli:" + name
	return strings.ToValidUTF8(who[:min(len(who), state.MaxOwnerBytes)], "")
}
