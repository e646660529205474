package embedded

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

const (
	secret = "a secret of all of the nodes"
	// futile is how long a start may go on that must not succeed: longer than
	// an election would take.
	futile = 12 * time.Second
)

// Two of three could elect a leader and begin a cluster without the third,
// which may be the one that has the sessions.
func TestFirstStartWantsAllNodes(t *testing.T) {
	t.Parallel()
	all := trio(t)
	ctx, cancel := context.WithTimeout(t.Context(), futile)
	defer cancel()
	errs := make(chan error, 2)
	for _, opts := range all[:2] {
		go func() {
			s, err := Start(ctx, opts)
			if err == nil {
				_ = s.Close() // the test has failed
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "at the first start not all") {
			t.Errorf("two of three: %v", err)
		}
	}
	servers := startAll(t, all)
	promises(t, servers)
	stop(t, servers[0])
	start(t, all[0]) // which is no first start: the two others are a majority
}

func TestNodeWithAnotherSecretStaysOutside(t *testing.T) {
	t.Parallel()
	peers := testkit.Addresses(t, 2)
	a := start(t, Options{Name: "a", Listen: peers[0], Dir: t.TempDir(), Secret: secret})
	b := Options{Name: "b", Listen: peers[1], Peers: peers, Dir: t.TempDir(), Secret: secret + "?"}
	err := fails(t, b, futile, "no majority")
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), a.password()) {
		t.Errorf("the error shows what is secret: %v", err)
	}
	if !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("the error does not say that it was refused: %v", err)
	}
	b.Secret = secret
	start(t, b)
}

// Nodes that each have sessions of their own would delete those of all but one.
func TestNodesThatWereAloneAreNotMerged(t *testing.T) {
	t.Parallel()
	peers := testkit.Addresses(t, 2)
	var all []Options
	for i, name := range []string{"a", "b"} {
		opts := Options{Name: name, Listen: peers[i], Dir: t.TempDir()}
		s := start(t, opts)
		if err := vaultOf(t, s).put(t.Context(), 1, i+1); err != nil {
			t.Fatal(err)
		}
		stop(t, s)
		opts.Peers = peers
		all = append(all, opts)
	}
	a := start(t, all[0])
	fails(t, Options{Name: "b", Listen: peers[1], Peers: peers, Dir: all[1].Dir, Nodes: 2}, futile, "is of another cluster")
	v := vaultOf(t, a)
	if n, err := v.getLong(t.Context(), 1); err != nil || n != 1 {
		t.Errorf("the first has %d, %v; want 1", n, err)
	}
	all[1].Peers = nil
	v = vaultOf(t, start(t, all[1]))
	if n, err := v.getLong(t.Context(), 1); err != nil || n != 2 {
		t.Errorf("the second has %d, %v; want 2", n, err)
	}
}
