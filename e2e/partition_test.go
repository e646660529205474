package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	partitionToken  = "a-token-for-the-partition-test"
	partitionClient = 8
)

// TestAReplicaThatCannotReachTheStoreRefusesAndRecovers has replicas on hosts of
// their own. One of them is cut off from the store, first so that what it says
// still arrives there and only the answers are lost, then altogether.
func TestAReplicaThatCannotReachTheStoreRefusesAndRecovers(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		t.Parallel() // most of it is waiting
		partition(t, onHostsWithDatabase(t, db))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		partition(t, onHostsWithReplicas(t))
	})
}

// A landscape is replicas on hosts of their own, with a store somewhere.
type landscape struct {
	store    sharedStore
	replicas []*server
	memory   memory
	// cuts are how the first of the hosts is cut off from the store.
	cuts []cut
}

type cut struct {
	what          string
	reached       bool // by clients, all the same
	begin, finish func()
}

// onHostsWithDatabase has the store on a host, too.
func onHostsWithDatabase(t *testing.T, database database) landscape {
	network := newHosts(t)
	db := network.add()
	url := strings.Replace(database.url, database.addr, db.lend(database.addr), 1)
	l := landscape{store: sharedStore{
		flags:            func(int) []string { return []string{"--store=" + url} },
		heartbeatTimeout: heartbeatTimeout,
	}}
	machines := l.settle(t, network.addMany(3))
	l.memory = openMemory(t, url)
	l.cuts = []cut{
		{"deaf to the store", true, func() { db.deafTo(machines[0]) }, func() { db.hears(machines[0]) }},
		{"unplugged", false, machines[0].unplug, machines[0].plug},
	}
	return l
}

// onHostsWithReplicas has the store in the replicas: whoever is cut off from
// the others is cut off from it, though clients reach them all.
func onHostsWithReplicas(t *testing.T) landscape {
	dir, machines := t.TempDir(), newHosts(t).addMany(3)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a-secret-for-the-partition-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var peers []string
	for _, m := range machines {
		peers = append(peers, m.addr+":7001")
	}
	l := landscape{store: sharedStore{
		flags:            func(n int) []string { return []string{clusterFlag(n, peers, dir) + "&secret-file=" + secret} },
		ofReplicas:       true,
		heartbeatTimeout: electedTimeout,
		election:         longestElection,
	}}
	l.settle(t, machines)
	l.memory = askMemory(t, l.replicas[1])
	one, others := machines[0], machines[1:]
	deaf := func() {
		for _, m := range others {
			m.deafTo(one)
		}
	}
	hears := func() {
		for _, m := range others {
			m.hears(one)
		}
	}
	l.cuts = []cut{
		{"deaf to the others", true, deaf, hears},
		{"cut off from the others", true,
			func() {
				deaf()
				for _, m := range others {
					one.deafTo(m)
				}
			},
			func() {
				hears()
				for _, m := range others {
					one.hears(m)
				}
			}},
	}
	return l
}

// settle starts a replica on each host, all at once.
func (l *landscape) settle(t *testing.T, machines []*host) []*host {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(partitionToken+" ann\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := adminToken(t)
	l.replicas = make([]*server, len(machines))
	var all sync.WaitGroup
	for n, m := range machines {
		all.Go(func() {
			l.replicas[n] = startProgram(t, "ip", m.run(slices.Concat([]string{executable, "serve",
				"--listen=" + m.addr + ":8080", "--admin-listen=" + m.addr + ":8081", "--admin-token-file=" + admin,
				"--advertise=http://" + m.addr + ":8080", "--heartbeat-timeout=" + l.store.heartbeatTimeout.String(),
				"--auth=tokens:" + tokens, "--max-sessions-per-user=0", "--log-level=debug",
			}, l.store.flags(n))...), nil)
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return machines
}

func partition(t *testing.T, l landscape) {
	balancer := newBalancer(t)
	for _, s := range l.replicas {
		balancer.add(s)
	}
	history := record(t, l.memory)

	var patrons []*patron
	for n := range partitionClient {
		patrons = append(patrons, connectPatron(t, n, clients[3], balancer.url(), partitionToken))
	}
	own := open(t, l.replicas[0].url, partitionToken)
	shared := openShelf(t, l.replicas, partitionToken)
	p := shopTogether(t, patrons)
	var disturbances []disturbance
	for _, c := range l.cuts {
		disturbances = append(disturbances, p.during(suspended, func() { l.cutOff(t, c, own) }))
	}
	p.judge(&l.store, disturbances)
	shared.judge()
	history.judge()
}

// cutOff cuts the first host off, until its session is served by another.
func (l *landscape) cutOff(t *testing.T, c cut, own string) {
	t.Helper()
	one, other := l.replicas[0], l.replicas[1]
	began := time.Now()
	c.begin()
	if c.reached {
		eventually(t, c.what+": it refuses, and says when to come back", func() bool {
			r, err := tryPing(t.Context(), one.url, own)
			return err == nil && r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
		})
	}
	eventually(t, c.what+": it is not ready", func() bool { return !isReady(t, one) })
	// The session that was live there goes on elsewhere.
	eventually(t, c.what+": its session is served by another", func() bool { return answers(t, other, own) == http.StatusOK })
	c.finish()
	healed := time.Now()
	eventually(t, c.what+": it serves again", func() bool {
		return isReady(t, one) && answers(t, one, own) == http.StatusOK
	})
	t.Logf("%s for %v, back after %v", c.what, healed.Sub(began).Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
}

const adminSecret = "a-token-for-the-admin"

func adminToken(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(path, []byte(adminSecret+"\n"), 0o600); err != nil {
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
