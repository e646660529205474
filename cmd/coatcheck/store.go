package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// storeFlags say where records are and how they are sealed, for every command.
type storeFlags struct {
	Store         string `default:"sqlite:coatcheck-data/coatcheck.db" env:"COATCHECK_STORE,SESSION_STORE" help:"Where records are kept: sqlite:PATH, memory:, redis://…, postgres://… or nats://…; also redis, at REDIS_URL, or postgres, at DATABASE_URL."`
	EncryptionKey string `placeholder:"FILE" help:"Encrypt records with the key in this file: 32 bytes in base64. SESSION_ENCRYPTION_KEY is the key itself."`
	KeyRing       string `placeholder:"FILE" help:"Encrypt records with the active key of this key ring."`
	Namespace     string `default:"default" help:"Separates deployments that share a store."`
}

// A place is where records are and how they are sealed.
type place struct {
	url       open.URL
	ring      *keyring.Ring // nil: they are not
	namespace string
}

// place reads the flags. They are no types of their own, since the error of the
// parser would repeat a value from the environment, passwords included.
func (f *storeFlags) place(ctx context.Context) (place, error) {
	if err := state.CheckName("namespace", f.Namespace); err != nil {
		return place{}, usagef("--namespace: %w", err)
	}
	url, err := f.url()
	if err != nil {
		return place{}, err
	}
	ring, err := f.ring(ctx)
	if err != nil {
		return place{}, err
	}
	return place{url: url, ring: ring, namespace: f.Namespace}, nil
}

// outside is place for a command that looks into the store of a server.
func (f *storeFlags) outside(ctx context.Context) (place, error) {
	p, err := f.place(ctx)
	if err == nil && p.url.Scheme() == open.Memory {
		return p, usagef("memory: is within the server's process and cannot be looked into from here: write --admin URL of that server, or write --store sqlite:PATH or another that is not")
	}
	return p, err
}

// url reads --store: a URL, or a name with the URL in a variable of its own.
func (f *storeFlags) url() (open.URL, error) {
	switch f.Store {
	case "redis":
		return urlIn("REDIS_URL", open.Redis, "redis://HOST:6379")
	case "postgres":
		return urlIn("DATABASE_URL", open.PostgreSQL, "postgres://USER:PASSWORD@HOST:5432/DATABASE")
	}
	u, err := open.Parse(f.Store)
	if err != nil {
		return u, usagef("--store: %w", err)
	}
	return u, nil
}

func urlIn(variable string, scheme open.Scheme, example string) (open.URL, error) {
	text := os.Getenv(variable)
	if text == "" {
		return open.URL{}, usagef("the store %s is at the URL in %s, which is not set: set it, to %s, or write that as --store", scheme, variable, example)
	}
	u, err := open.Parse(text)
	if err != nil {
		return u, usagef("%s: %w", variable, err)
	}
	if u.Scheme() != scheme {
		return u, usagef("%s is of another store: set it to %s", variable, example)
	}
	return u, nil
}

// open opens the store, or creates it where there is none.
func (p place) open(ctx context.Context, opts open.Options) (open.Store, error) {
	opts.Ring, opts.Namespace = p.ring, p.namespace
	s, err := p.url.Open(ctx, opts)
	if errors.As(err, new(*open.ReplicationError)) {
		return nil, usagef("--replication: %w", err)
	}
	return s, err
}

// openExisting opens a store for a look from outside. It makes no file.
func (p place) openExisting(ctx context.Context) (open.Store, error) {
	return p.open(ctx, open.Options{MustExist: true, SQLiteCache: -1})
}

// routingKey is what the routing bytes of refs are computed with, where users
// are not to be guessed from them.
func (p place) routingKey() []byte {
	if p.ring == nil {
		return nil
	}
	return p.ring.Stable(keyring.Routing).Bytes()
}

func (p place) String() string {
	if p.ring == nil {
		return p.url.String()
	}
	return fmt.Sprintf("%s (encrypted, active key %s)", p.url, p.ring.Active().ID())
}
