package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

// A database is a server of somebody else's with the store in it.
type database struct {
	url         string
	addr        string // where it is
	stop, start func()
}

// databases start one of each kind, durable, that ends with the test.
var databases = map[string]func(t *testing.T) database{
	"redis": func(t *testing.T) database {
		s := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		return database{
			url: "redis://" + s.Addr() + "?connect_timeout=1s&timeout=1s", addr: s.Addr(),
			stop: s.Kill, start: s.Launch,
		}
	},
	"postgres": func(t *testing.T) database {
		s := postgresserver.Start(t, postgresserver.Options{Sync: true})
		s.Exec(t, "postgres", "CREATE DATABASE coatcheck")
		return database{
			url: s.URL("coatcheck"), addr: s.Addr(),
			stop: func() { s.Stop(t) }, start: func() { s.Restart(t) },
		}
	},
	"nats": func(t *testing.T) database {
		s := natsserver.Start(t)
		return database{
			url: s.URL() + "?streams=2&timeout=10s", addr: strings.TrimPrefix(s.URL(), "nats://"),
			stop: s.Kill, start: s.Launch,
		}
	},
}

// overDatabases runs a test with a server on each database.
func overDatabases(t *testing.T, test func(t *testing.T, db database)) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func TestClientsGoOnAfterKill9WithADatabase(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				// Apart, since all clients are nobody in particular.
				goOnAfterKill9(t, c, serve(t, "", "--store="+db.url, "--namespace="+plain(c.name)))
			})
		}
	})
}

// plain returns a name as a namespace may have it.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
}

// A client of a server whose database is down is told to come back, never that
// its session is gone; and goes on when the database is back.
func TestClientsGoOnAfterAnOutageOfTheDatabase(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		s := serve(t, "", "--store="+db.url)
		raw := open(t, s.url, "")
		d := &dialogue{t: t, p: newGo(t, "2025-11-25"), note: "note:///menu"}
		if err := d.p.connect(s.url, ""); err != nil {
			t.Fatal(err)
		}
		d.begin()

		db.stop()
		r := ping(t, s.url, raw, "")
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
			t.Errorf("ping without a database: %d, Retry-After %q, %s", r.status, r.header.Get("Retry-After"), r.body)
		}
		if strings.Contains(r.body, db.addr) {
			t.Errorf("a client is told where the database is: %s", r.body)
		}
		if status, body := s.get("/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("/readyz without a database: %d %s", status, body)
		}
		if status, _ := s.get("/healthz"); status != http.StatusOK {
			t.Errorf("/healthz without a database: %d", status)
		}

		db.start()
		eventually(t, "the server is ready again", func() bool {
			status, _ := s.get("/readyz")
			return status == http.StatusOK
		})
		if r := ping(t, s.url, raw, ""); r.status != http.StatusOK {
			t.Errorf("ping when the database is back: %d %s", r.status, r.body)
		}
		d.again()
	})
}

func TestAServerWithoutItsDatabaseSaysWhichAndEnds(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		db.stop()
		url := strings.Replace(db.url, "://", "://ann:hunter2@", 1)
		url = strings.Replace(url, "@"+postgresserver.User+"@", "@", 1)
		for _, command := range [][]string{
			{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, {"sessions", "list"},
		} {
			_, stderr, status := coatcheck(t, append(command, "--store="+url)...)
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, db.addr) || strings.Contains(stderr, "hunter2") {
				t.Errorf("%v: status %d, %q; want status 1 and one line that names %s", command, status, stderr, db.addr)
			}
		}
	})
}

func TestOperatorsSeeAndEndSessionsInADatabase(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		s := serve(t, "", "--store="+db.url)
		store := "--store=" + db.url
		id := open(t, s.url, "")
		ref, _, _ := strings.Cut(id, ".")
		out, stderr, status := coatcheck(t, "sessions", "list", "--json", store)
		if status != 0 || !strings.Contains(out, ref) {
			t.Fatalf("sessions list: status %d, %q, %q", status, out, stderr)
		}
		for _, f := range objects(t, "doctor", store) {
			// This server is open to all, which the policy's check says.
			if f["check"] != "policy" && f["result"] != "ok" {
				t.Errorf("doctor: %v", f)
			}
		}
		if _, stderr, status := coatcheck(t, "sessions", "revoke", ref, store); status != 0 {
			t.Fatalf("sessions revoke: status %d, %q", status, stderr)
		}
		if r := ping(t, s.url, id, ""); r.status != http.StatusNotFound {
			t.Errorf("ping of a revoked session: %d %s", r.status, r.body)
		}
	})
}

// The guide's variables lead to the same store as a flag.
func TestTheGuidesVariablesNameTheStore(t *testing.T) {
	for name, variable := range map[string]string{"redis": "REDIS_URL", "postgres": "DATABASE_URL"} {
		t.Run(name, func(t *testing.T) {
			db := databases[name](t)
			s := startWith(t, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"},
				[]string{"SESSION_STORE=" + name, variable + "=" + db.url})
			ref, _, _ := strings.Cut(open(t, s.url, ""), ".")
			out, stderr, status := coatcheck(t, "sessions", "list", "--json", "--store="+db.url)
			if status != 0 || !strings.Contains(out, ref) {
				t.Errorf("sessions list: status %d, %q, %q", status, out, stderr)
			}
		})
	}
}
