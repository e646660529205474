package encrypted_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// A backend is a store on a server, and all that the server then holds.
type backend struct {
	store state.Store
	dump  func() []byte // ends the server, if it must
}

func must[S state.Store](s S, err error) func(*testing.T) state.Store {
	return func(t *testing.T) state.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// onRedis keeps all commands in a file, those on what is gone too.
func onRedis(t *testing.T) backend {
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := must(redis.OpenURL(t.Context(), "redis://"+server.Addr()))(t)
	return backend{s, func() []byte {
		server.Kill()
		return files(t, server.Dir())
	}}
}

func onNATS(t *testing.T) backend {
	server := natsserver.Start(t)
	s := must(nats.OpenURL(t.Context(), server.URL()))(t)
	return backend{s, func() []byte {
		server.Kill()
		return files(t, server.Dir())
	}}
}

// onPostgres dumps the rows of all tables as text, bytea in hex.
func onPostgres(t *testing.T) backend {
	server := postgresserver.Start(t, postgresserver.Options{})
	url := server.Database(t)
	database := url[strings.LastIndexByte(url, '/')+1:]
	database, _, _ = strings.Cut(database, "?")
	s := must(postgres.Open(t.Context(), url, postgres.Options{}))(t)
	return backend{s, func() []byte {
		tables := server.Ask(t, database, `SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')`)
		rows := ""
		for _, table := range strings.Fields(tables) {
			rows += server.Ask(t, database, "SELECT coalesce(string_agg(t::text, ' '), '') FROM "+table+" t")
		}
		if len(rows) < 5_000 {
			t.Fatalf("the dump has %d bytes", len(rows))
		}
		return []byte(rows)
	}}
}

// What is on a server's disk, or in its tables, tells nothing; without encryption
// the same search finds the user.
func TestDumpOfAServerTellsNothing(t *testing.T) {
	for name, start := range map[string]func(*testing.T) backend{"redis": onRedis, "nats": onNATS, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			s := wrap(t, b.store, newRing(t), encrypted.Options{})
			use(t, s)
			search(t, name, b.dump())

			plain := start(t)
			defer plain.store.Close()
			for range 20 {
				do(t, plain.store, creation(t, "https://issuer.example/alice"))
			}
			if !bytes.Contains(plain.dump(), private()["https://issuer.example/alice"]) {
				t.Error("a plain user was not found")
			}
		})
	}
}
