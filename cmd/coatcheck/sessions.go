package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// sessionsCmd looks into the store itself, beside a running server or without
// one.
type sessionsCmd struct {
	List    listCmd    `cmd:"" help:"List sessions."`
	Show    showCmd    `cmd:"" help:"Show a session."`
	Explain explainCmd `cmd:"" help:"Say whether a session lives, or when, why and by whom it ended."`
	Watch   watchCmd   `cmd:"" help:"Report what happens to sessions, until interrupted."`
	Revoke  revokeCmd  `cmd:"" help:"End a session, all of a user's, or all."`
}

// sessionKind is what the commands speak of if nothing else is asked for.
const sessionKind = "session"

// sessionsFlags are common to the commands of sessions.
type sessionsFlags struct {
	storeFlags `embed:""`
	JSON       bool `name:"json" help:"Print one JSON object a line."`

	observe func(context.Context, session.Event) // nil: nobody is told
}

// withStore opens the store for fn and closes it.
func (f *sessionsFlags) withStore(ctx context.Context, fn func(state.Store) error) (err error) {
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

func (f *sessionsFlags) manager(store state.Store, kind string) (*session.Manager, error) {
	m, err := session.NewManager(store, session.Options{Namespace: f.Namespace, Kind: kind, Observe: f.observe})
	if errors.Is(err, session.ErrInvalid) || errors.Is(err, session.ErrTooLarge) {
		return nil, usagef("--kind: %w", err)
	}
	return m, err
}

// managerOf returns the Manager for the kind that the ref is, or was, of. A
// ref names one record whatever its kind, so nobody has to give it.
func (f *sessionsFlags) managerOf(ctx context.Context, store state.Store, ref state.Ref) (*session.Manager, error) {
	kind := sessionKind
	r, err := store.Get(ctx, state.Key{Namespace: f.Namespace, Ref: ref})
	var gone *state.NotFoundError
	switch {
	case err == nil:
		kind = r.Kind
	case errors.As(err, &gone) && gone.End != nil && gone.End.Kind != "":
		kind = gone.End.Kind
	case !errors.Is(err, state.ErrNotFound):
		return nil, err
	}
	return f.manager(store, kind)
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
