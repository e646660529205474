package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	storeopen "github.com/coatcheck-mcp/coatcheck/store/open"
)

const (
	partitionToken  = "a-token-for-the-partition-test"
	partitionClient = 8
)

// TestAReplicaThatCannotReachTheStoreRefusesAndRecovers has replicas on hosts of
// their own. One of them is cut off from the store, first so that what it says
// still arrives there and only the answers are lost, then from everybody.
func TestAReplicaThatCannotReachTheStoreRefusesAndRecovers(t *testing.T) {
	overDatabases(t, partition)
}

func partition(t *testing.T, database database) {
	network := newHosts(t)
	db := network.add()
	url := strings.Replace(database.url, database.addr, db.lend(database.addr), 1)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(partitionToken+" ann\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	balancer := newBalancer(t)
	var machines []*host
	var replicas []*server
	for range 3 {
		m := network.add()
		s := serveOn(t, m, url, tokens)
		machines, replicas = append(machines, m), append(replicas, s)
		balancer.add(s)
	}
	history := record(t, url)

	var patrons []*patron
	for n := range partitionClient {
		patrons = append(patrons, connectPatron(t, n, clients[3], balancer.url(), partitionToken))
	}
	own := open(t, replicas[0].url, partitionToken)
	p := shopTogether(t, patrons)
	cutOff := func(what string, cut, heal func()) disturbance {
		began := time.Now()
		return p.during(suspended, func() {
			cut()
			eventually(t, what+": it is not ready", func() bool { return !isReady(t, replicas[0]) })
			// The session that was live there goes on elsewhere.
			eventually(t, what+": its session is served by another", func() bool { return answers(t, replicas[1], own) == http.StatusOK })
			heal()
			healed := time.Now()
			eventually(t, what+": it serves again", func() bool {
				return isReady(t, replicas[0]) && answers(t, replicas[0], own) == http.StatusOK
			})
			t.Logf("%s for %v, back after %v", what, healed.Sub(began).Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
		})
	}
	disturbances := []disturbance{
		cutOff("deaf to the store", func() {
			db.deafTo(machines[0])
			eventually(t, "it refuses, and says when to come back", func() bool {
				r, err := tryPing(t.Context(), replicas[0].url, own)
				return err == nil && r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
			})
		}, func() { db.hears(machines[0]) }),
		cutOff("unplugged", machines[0].unplug, machines[0].plug),
	}
	p.judge(&sharedStore{heartbeatTimeout: heartbeatTimeout}, disturbances)
	history.judge()
}

// serveOn starts a replica on a host.
func serveOn(t *testing.T, at *host, store, tokens string) *server {
	t.Helper()
	return startProgram(t, "ip", at.run(executable, "serve",
		"--listen="+at.addr+":8080", "--admin-listen="+at.addr+":8081", "--admin-token-file="+adminToken(t),
		"--advertise=http://"+at.addr+":8080", "--heartbeat-timeout="+heartbeatTimeout.String(),
		"--auth=tokens:"+tokens, "--store="+store, "--max-sessions-per-user=0", "--log-level=debug"), nil)
}

func adminToken(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(path, []byte("a-token-for-the-admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// impatience is for what may hang: whoever asks asks again.
const impatience = 3 * time.Second

func tryPing(ctx context.Context, url, session string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, impatience)
	defer cancel()
	return try(ctx, http.DefaultClient, http.MethodPost, url, `{"jsonrpc":"2.0","id":7,"method":"ping"}`, sessionHeaders(session, partitionToken))
}

// answers returns the status of a ping; 0 for none.
func answers(t *testing.T, s *server, session string) int {
	t.Helper()
	r, err := tryPing(t.Context(), s.url, session)
	if err != nil {
		return 0
	}
	return r.status
}

func isReady(t *testing.T, s *server) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	r, err := try(ctx, http.DefaultClient, http.MethodGet, s.admin+"/readyz", "", nil)
	return err == nil && r.status == http.StatusOK
}

// A chronicle is what was stored of sessions, as it was seen.
type chronicle struct {
	t    *testing.T
	stop func()
	done chan struct{}
	seen map[state.Ref][]state.Record
}

// record watches the sessions in a store until it is judged.
func record(t *testing.T, url string) *chronicle {
	t.Helper()
	u, err := storeopen.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := u.Open(t.Context(), storeopen.Options{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	changes, err := store.Watch(ctx, state.WatchOptions{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	c := &chronicle{t: t, stop: cancel, done: make(chan struct{}), seen: map[state.Ref][]state.Record{}}
	go func() {
		defer close(c.done)
		for change := range changes {
			if change.Kind != "session" || change.Type != state.Updated && change.Type != state.Created {
				continue
			}
			if r, err := store.Get(ctx, change.Key); err == nil {
				c.seen[change.Key.Ref] = append(c.seen[change.Key.Ref], r)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-c.done
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return c
}

// judge makes sure that no session had two owners in one epoch, and that no
// epoch came back.
func (c *chronicle) judge() {
	c.t.Helper()
	c.stop()
	<-c.done
	changes := 0
	for ref, records := range c.seen {
		owners := map[uint64]string{}
		var last state.Record
		for _, r := range records {
			if r.Revision < last.Revision || r.Epoch < last.Epoch || r.Version < last.Version {
				c.t.Errorf("session %s went back: revision %d, epoch %d, version %d after %d, %d, %d",
					ref, r.Revision, r.Epoch, r.Version, last.Revision, last.Epoch, last.Version)
			}
			if before, ok := owners[r.Epoch]; ok && before != r.Owner {
				c.t.Errorf("session %s had two owners in epoch %d: %s and %s", ref, r.Epoch, before, r.Owner)
			}
			owners[r.Epoch] = r.Owner
			last = r
		}
		changes += len(owners)
	}
	c.t.Logf("%d sessions, in %d epochs", len(c.seen), changes)
}
