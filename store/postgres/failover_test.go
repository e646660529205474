package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// A pair is a primary, and a standby without which it acknowledges nothing.
type pair struct {
	primary, standby *postgresserver.Server
	database         string // its name on both
}

func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{primary: postgresserver.Start(t, postgresserver.Options{Sync: true})}
	p.standby = postgresserver.Start(t, postgresserver.Options{Sync: true, Standby: p.primary, Name: "two"})
	url := p.primary.Database(t)
	p.database = url[strings.LastIndexByte(url, '/')+1:]
	p.require(t, "ANY 1 (two)")
	return p
}

// require sets the primary's synchronous standbys.
func (p pair) require(t *testing.T, names string) {
	t.Helper()
	p.primary.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	p.primary.Exec(t, "postgres", "SELECT pg_reload_conf()")
	poll(t, "the setting to count", func() bool {
		return strings.Contains(p.primary.Ask(t, "postgres", "SHOW synchronous_standby_names"), names)
	})
}

// url names both servers.
func (p pair) url(parameters string) string {
	return "postgres://" + postgresserver.User + "@" + p.primary.Addr() + "," + p.standby.Addr() + "/" + p.database + parameters
}

// failOver kills the primary and promotes the standby.
func (p pair) failOver(t *testing.T) {
	t.Helper()
	p.primary.Kill(t)
	p.standby.Promote(t)
}

func TestStoreGoesOnWithThePromotedStandby(t *testing.T) {
	for name, parameters := range map[string]string{"by default": "", "as told": "?target_session_attrs=read-write"} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			s := open(t, p.url(parameters), postgres.Options{})
			changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: space})
			if err != nil {
				t.Fatal(err)
			}
			meanwhile(t, s, func(l *load) {
				p.primary.Kill(t)
				before := l.failed.Load()
				poll(t, "calls to fail", func() bool { return l.failed.Load() > before+20 })
				p.standby.Promote(t)
			})
			// What is created before the watch is at the other server, the Gap
			// stands for. What is created after it, the watch has to hear.
			var key state.Key
			patience := time.After(time.Minute)
			for heard := false; !heard; {
				select {
				case c := <-changes:
					if c.Type == state.Gap {
						key = create(t, s, "ann")
					}
					heard = c.Type == state.Created && c.Key == key
				case <-patience:
					t.Fatal("the watch did not go on at the other server, with a Gap and what came after it")
				}
			}
		})
	}
}

// The old primary comes back as a standby on the same address, and connections
// to it can be had, but not written to.
func TestStoreDoesNotStayWithAServerThatOnlyReads(t *testing.T) {
	p := newPair(t)
	s := open(t, p.url(""), postgres.Options{})
	key := create(t, s, "ann")
	// What the server says of a standby, without one.
	p.require(t, "")
	p.primary.Exec(t, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
	p.primary.Exec(t, "postgres", "SELECT pg_reload_conf()")
	p.standby.Promote(t)
	t.Cleanup(func() { p.primary.Kill(t) }) // its database cannot be dropped any more
	poll(t, "a write to the other server", func() bool {
		_, err := state.Do(t.Context(), s, state.SetOwnerOp{Key: key, Owner: "node"})
		return err == nil
	})
	if owner := p.standby.Ask(t, p.database, "SELECT owner FROM sessions"); owner != "node" {
		t.Errorf("the promoted server has owner %q", owner)
	}
}
