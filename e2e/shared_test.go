package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// A sharedStore is a store that replicas share.
type sharedStore struct {
	// flags are those of the nth replica that is started. A store that is made
	// of the replicas wants different ones from each.
	flags func(n int) []string
	// ofReplicas says that the store is made of the replicas. Then there are as
	// many as the store wants, and each has a place of its own, with addresses
	// and a folder: whoever follows it has to wait until it has ended. And no
	// other process can open the store: operators ask a replica.
	ofReplicas bool
	// heartbeatTimeout of the replicas.
	heartbeatTimeout time.Duration
	// election is how long the store may be in choosing who leads when a
	// replica is gone. Nobody's silence counts meanwhile.
	election time.Duration
}

const (
	// heartbeatTimeout is that of replicas on a database.
	heartbeatTimeout = 3 * time.Second
	// electedTimeout is the one that goes with a cluster of the replicas.
	electedTimeout = 12 * time.Second
	// longestElection is one of its elections.
	longestElection = 9 * time.Second
)

// sharedStores start one of each kind.
var sharedStores = map[string]func(t *testing.T) sharedStore{
	"redis":    onDatabase("redis"),
	"postgres": onDatabase("postgres"),
	"nats":     onDatabase("nats"),
	"cluster":  onReplicas,
}

func onDatabase(name string) func(t *testing.T) sharedStore {
	return func(t *testing.T) sharedStore {
		db := databases[name](t)
		return sharedStore{
			flags:            func(int) []string { return []string{"--store=" + db.url} },
			heartbeatTimeout: heartbeatTimeout,
		}
	}
}

// onReplicas is the store of three replicas that keep the sessions themselves.
func onReplicas(t *testing.T) sharedStore {
	dir, own := t.TempDir(), testkit.Addresses(t, 9)
	peers := own[:3]
	return sharedStore{
		flags: func(n int) []string {
			return []string{
				clusterFlag(n, peers, dir), "--listen=" + own[3+n], "--admin-listen=" + own[6+n], "--advertise=http://" + own[3+n],
			}
		},
		ofReplicas:       true,
		heartbeatTimeout: electedTimeout,
		election:         longestElection,
	}
}

// clusterFlag names the store of the nth of the peers, with its folder in dir.
func clusterFlag(n int, peers []string, dir string) string {
	return fmt.Sprintf("--store=cluster:?name=n%d&listen=%s&peers=%s&dir=%s/n%d", n, peers[n], strings.Join(peers, ","), dir, n)
}

// overSharedStores runs a test with replicas on each store, or on those that
// COATCHECK_TEST_STORE names.
func overSharedStores(t *testing.T, test func(t *testing.T, f *fleet)) {
	only := os.Getenv("COATCHECK_TEST_STORE")
	for _, name := range slices.Sorted(maps.Keys(sharedStores)) {
		if only != "" && only != name {
			continue
		}
		t.Run(name, func(t *testing.T) { test(t, newFleet(t, sharedStores[name](t))) })
	}
}
