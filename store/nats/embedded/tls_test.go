package embedded

import (
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// node is a certificate for a node on the loopback interface.
func node(a *testkit.Authority, name string) *TLS {
	cert, key := a.Issue(name)
	return &TLS{Cert: cert, Key: key, CA: a.CA()}
}

func TestNodesKnowOneAnotherByCertificates(t *testing.T) {
	t.Parallel()
	ours, others := testkit.NewAuthority(t), testkit.NewAuthority(t)
	peers := testkit.Addresses(t, 3)
	a := Options{Name: "a", Listen: peers[0], Dir: t.TempDir(), Secret: secret, TLS: node(ours, "a")}
	one := start(t, a)
	b := Options{Name: "b", Listen: peers[1], Peers: peers[:2], Dir: t.TempDir(), Secret: secret, TLS: node(ours, "b")}
	start(t, b)
	eventually(t, "the second node is connected", func() bool {
		members, err := one.Members(t.Context())
		return err == nil && len(members) == 2 && members[1].Connected
	})

	plain := Options{Name: "c", Listen: peers[2], Peers: peers, Dir: t.TempDir(), Secret: secret}
	foreign := plain
	foreign.TLS = node(others, "c")
	for what, opts := range map[string]Options{"without TLS": plain, "of another authority": foreign} {
		opts.Dir = t.TempDir()
		fails(t, opts, futile/3, "no majority")
		if members, err := one.Members(t.Context()); err != nil || len(members) != 2 {
			t.Errorf("after a node %s: %+v, %v", what, members, err)
		}
	}
}
