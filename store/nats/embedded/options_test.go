package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestOptionsThatCannotWorkAreExplained(t *testing.T) {
	good := Options{Name: "a", Listen: "127.0.0.1:7001", Dir: "x"}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	if good.Nodes != 1 || good.Replicas != 3 || len(good.Peers) != 1 {
		t.Errorf("defaults: %+v", good)
	}
	for want, change := range map[string]func(*Options){
		"name is missing":               func(o *Options) { o.Name = "" },
		"is no name of a node":          func(o *Options) { o.Name = "a.b" },
		"listen: \"\" is no address":    func(o *Options) { o.Listen = "" },
		"\"127.0.0.1:0\" is no address": func(o *Options) { o.Listen = "127.0.0.1:0" },
		"\":7001\" is no address":       func(o *Options) { o.Listen = ":7001" },
		"dir is missing":                func(o *Options) { o.Dir = "" },
		"peers: \"b\" is no address":    func(o *Options) { o.Peers = []string{"127.0.0.1:7001", "b"} },
		"is there twice":                func(o *Options) { o.Peers = []string{"127.0.0.1:7001", "127.0.0.1:7001"} },
		"add 127.0.0.1:7001 to them":    func(o *Options) { o.Peers = []string{"127.0.0.1:7002"} },
		"write nodes=3":                 func(o *Options) { o.Peers = []string{"dns:nodes.example:7001"} },
		"a dns: name stands alone":      func(o *Options) { o.Peers = []string{"127.0.0.1:7001", "dns:nodes.example:7001"} },
		"nodes: 2 of 1 peers":           func(o *Options) { o.Nodes = 2 },
		"nodes: -1 of 1 peers":          func(o *Options) { o.Nodes = -1 },
		"write 1, 3 or 5":               func(o *Options) { o.Replicas = 2 },
		"leave out one of the two":      func(o *Options) { o.Level, o.Replicas = state.ReplicateNone, 3 },
		"quorum takes three nodes":      func(o *Options) { o.Level = state.ReplicateQuorum },
		"all takes three nodes":         func(o *Options) { o.Level = state.ReplicateAll },
		"leader takes three nodes":      func(o *Options) { o.Level = state.ReplicateLeader },
		"go with replication=leader":    func(o *Options) { o.Mirrors = 2 },
		"is not known":                  func(o *Options) { o.Level = "most" },
		"give all nodes a secret":       func(o *Options) { o.Listen = "0.0.0.0:7001" },
		"the secret can be guessed":     func(o *Options) { o.Secret = "short" },
	} {
		opts := Options{Name: "a", Listen: "127.0.0.1:7001", Dir: "x"}
		change(&opts)
		if err := opts.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	open := Options{Name: "a", Listen: "0.0.0.0:7001", Peers: []string{"10.0.0.1:7001", "10.0.0.2:7001"}, Dir: "x", Secret: secret}
	if err := open.check(); err != nil {
		t.Errorf("on all interfaces: %v", err)
	}
}

func TestFilesOfTLSThatCannotBeUsedAreExplained(t *testing.T) {
	files := node(testkit.NewAuthority(t), "a")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*TLS){
		"write all three or none": func(f *TLS) { f.CA = "" },
		"tls-cert and tls-key: ":  func(f *TLS) { f.Key = empty },
		"tls-ca: open ":           func(f *TLS) { f.CA = empty + "?" },
		"has no certificate":      func(f *TLS) { f.CA = empty },
	} {
		f := *files
		change(&f)
		if _, err := f.config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// What the peers file must be is the server's own; that it reads it is shown by
// each test that starts a node alone.
func TestPeersOfAClusterAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, peersFile)
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, nodes := range []int{3, 5, 1} { // unformed, so it follows the options
		if err := seedPeers(dir, "a", nodes); err != nil || read() != string(encodePeers("a", nodes)) {
			t.Errorf("%d nodes: %v, %q", nodes, err, read())
		}
	}
	if err := seedPeers(dir, "a", 3); err != nil || read() != string(encodePeers("a", 1)) {
		t.Errorf("a cluster of one was changed: %v, %q", err, read())
	}
}
