package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

const (
	schemeMemory = "memory"
	schemeSQLite = "sqlite"
)

// defaultPath is where sqlite: without a path is.
const defaultPath = "coatcheck-data/coatcheck.db"

// planned are the schemes of stores that this build does not have.
var planned = []string{"redis", "rediss", "postgres", "postgresql", "nats", "cluster"}

// storeFlags say where records are, for every command.
type storeFlags struct {
	Store     string `default:"sqlite:coatcheck-data/coatcheck.db" env:"COATCHECK_STORE,SESSION_STORE" help:"Where records are kept: sqlite:PATH or memory:."`
	Namespace string `default:"default" help:"Separates deployments that share a store."`
}

// url reads --store. It is no type of flag of its own, since the error of the
// parser would repeat a value from the environment, passwords included.
//
// It also refuses what the environment asks for and this build cannot do: it
// would be worse to go on without.
func (f *storeFlags) url() (storeURL, error) {
	u, err := parseStore(f.Store)
	if err != nil {
		return u, usagef("--store: %w", err)
	}
	if os.Getenv("SESSION_ENCRYPTION_KEY") != "" {
		return u, usagef("SESSION_ENCRYPTION_KEY is set, but this build does not encrypt: unset it to keep records unencrypted")
	}
	if err := state.CheckName("namespace", f.Namespace); err != nil {
		return u, usagef("--namespace: %w", err)
	}
	return u, nil
}

// storeURL names a store.
type storeURL struct{ scheme, path string }

func (u storeURL) String() string { return u.scheme + ":" + u.path }

// parseStore accepts a URL, or the bare name of a store.
func parseStore(text string) (storeURL, error) {
	scheme, path, _ := strings.Cut(text, ":")
	switch {
	case slices.Contains(planned, scheme):
		return storeURL{}, fmt.Errorf("the store %s: is not available in this build: write memory: or sqlite:PATH", scheme)
	case scheme == schemeMemory && path == "":
	case scheme == schemeSQLite:
		// sqlite:///var/lib/x.db is a path, too.
		if rest, ok := strings.CutPrefix(path, "//"); ok && strings.HasPrefix(rest, "/") {
			path = rest
		}
		if path == "" {
			path = defaultPath
		}
		if strings.HasPrefix(path, "//") || strings.Contains(path, "?") {
			return storeURL{}, errors.New("sqlite: takes the path of a file and nothing else: write sqlite:PATH")
		}
	default:
		// The text may hold a password.
		return storeURL{}, errors.New("this is no store: write memory: or sqlite:PATH")
	}
	return storeURL{scheme: scheme, path: path}, nil
}

// backend is an open store.
type backend interface {
	state.Store
	state.EventStore
}

// open opens the store, or creates it where there is none.
func (u storeURL) open(ctx context.Context, opts sqlite.Options) (backend, error) {
	if u.scheme == schemeMemory {
		return memory.New(memory.Options{}), nil
	}
	s, err := sqlite.Open(ctx, u.path, opts)
	if err != nil {
		return nil, err // not s: a nil *sqlite.Store is no nil backend
	}
	return s, nil
}

// openExisting opens a store for a look from outside. It creates nothing.
func (u storeURL) openExisting(ctx context.Context) (backend, error) {
	if u.scheme == schemeMemory {
		return nil, usagef("memory: is within the server's process and cannot be looked into from here: write --store sqlite:PATH")
	}
	if _, err := os.Stat(u.path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no store at %s: give the --store of the server", u.path)
	}
	return u.open(ctx, sqlite.Options{CacheBytes: -1})
}
