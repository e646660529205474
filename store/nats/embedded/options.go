package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options say which node of which cluster this is.
type Options struct {
	// Name is this node's, different from that of every other, and the same
	// after each restart.
	Name string
	// Listen is the address, host and port, at which the other nodes reach
	// this one. It is for nodes alone; clients do not connect there.
	Listen string
	// Peers are the addresses of all nodes, this one too; or a single
	// "dns:NAME:PORT", a name that resolves to all of them. Without any this
	// is a node alone.
	Peers []string
	// Nodes is how many nodes the cluster is first made of. Zero: as many as
	// Peers. With a name in Peers it has to be given, since whoever starts
	// first finds only itself.
	Nodes int
	// Dir is the folder in which this node keeps its data. No other process
	// may use it.
	Dir string

	// Secret is what the nodes know one another by. A Listen that others can
	// reach requires it.
	Secret string
	// SecretFile has the secret instead. It must be its owner's alone.
	SecretFile string
	// TLS encrypts and authenticates what nodes send to one another. Nil: it
	// goes over the network as it is.
	TLS *TLS

	// NoSync acknowledges writes before they are on disk. They are synced each
	// second then: a loss of power of the nodes that have a write, all of them
	// at once, loses what was acknowledged since. The process may be killed.
	NoSync bool
	// Replicas is how many nodes keep each record once there are as many: 1,
	// 3 or 5. Zero: 3; with [state.ReplicateAll] 5 if the cluster is first made
	// of as many.
	Replicas int

	// Level is when a write is acknowledged by the store of [Open]:
	// [state.ReplicateNone], when the one node that keeps it has it;
	// [state.ReplicateLeader], the same, and others get copies afterwards;
	// [state.ReplicateQuorum], when a majority of three or more have it;
	// [state.ReplicateAll], when all that keep it have it. Empty: quorum from
	// three nodes on.
	Level state.Replication
	// Mirrors is how many nodes get copies with [state.ReplicateLeader]. Zero: 2.
	Mirrors int

	Logger *slog.Logger // nil: nothing is logged

	syncEvery time.Duration // with NoSync
}

// TLS names the files, in PEM, with which nodes authenticate one another. Each
// shows its certificate to the other, whichever connected.
type TLS struct {
	Cert, Key string // this node's
	CA        string // the authorities that certified the others
}

const (
	dnsPrefix       = "dns:"
	defaultReplicas = 3
	minSecret       = 16
)

// check refuses what cannot work, and fills in what was left out.
func (o *Options) check() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	host, err := checkAddress("listen", o.Listen)
	if err != nil {
		return err
	}
	if o.Dir == "" {
		return errors.New("dir is missing: write the folder for this node's data")
	}
	if len(o.Peers) == 0 {
		o.Peers = []string{o.Listen}
	}
	if err := o.checkPeers(host); err != nil {
		return err
	}
	if err := o.checkSecret(host); err != nil {
		return err
	}
	if err := o.checkLevel(); err != nil {
		return err
	}
	if !slices.Contains([]int{1, 3, 5}, o.Replicas) {
		return fmt.Errorf("%d replicas cannot have a majority that is worth its cost: write 1, 3 or 5", o.Replicas)
	}
	if o.syncEvery == 0 {
		o.syncEvery = syncInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// checkLevel goes with the number of replicas, which it fills in.
func (o *Options) checkLevel() error {
	switch o.Level {
	case "":
	case state.ReplicateNone:
		if o.Replicas > 1 {
			return fmt.Errorf("replication none is one replica, not %d: leave out one of the two", o.Replicas)
		}
		o.Replicas = 1
	case state.ReplicateLeader:
		if o.Nodes < 3 || o.Replicas > 1 {
			return errors.New("replication leader takes three nodes, one of which keeps each record, and others copies: write peers=HOST:PORT,HOST:PORT,HOST:PORT, and leave replicas out")
		}
		o.Replicas = 1
	case state.ReplicateQuorum, state.ReplicateAll:
		if o.Nodes < 3 || o.Replicas == 1 {
			return fmt.Errorf("replication %s takes three nodes that keep each record: write peers=HOST:PORT,HOST:PORT,HOST:PORT, or leave replication out", o.Level)
		}
		if o.Level == state.ReplicateAll && o.Replicas == 0 && o.Nodes >= 5 {
			o.Replicas = 5
		}
	default:
		return fmt.Errorf("replication %s is not known: write none, leader, quorum or all, or leave it out", o.Level)
	}
	if o.Mirrors < 0 || o.Mirrors > 4 || o.Mirrors > 0 && o.Level != state.ReplicateLeader {
		return errors.New("mirrors are from 1 to 4, and go with replication=leader")
	}
	if o.Replicas == 0 {
		o.Replicas = defaultReplicas
	}
	return nil
}

func checkName(name string) error {
	if name == "" {
		return errors.New("name is missing: write one for this node that no other has")
	}
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) {
		return fmt.Errorf("%q is no name of a node: write at most 64 of a-z, A-Z, 0-9, - and _", name)
	}
	return nil
}

// checkAddress returns the host of an address that has a fixed port.
func checkAddress(what, address string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 1 || n > 65535 || host == "" {
		return "", fmt.Errorf("%s: %q is no address that the other nodes could know: write HOST:PORT, such as 127.0.0.1:7001", what, address)
	}
	return host, nil
}

func (o *Options) checkPeers(host string) error {
	if name, ok := strings.CutPrefix(o.Peers[0], dnsPrefix); ok && len(o.Peers) == 1 {
		if _, err := checkAddress("peers", name); err != nil {
			return err
		}
		if o.Nodes < 1 {
			return errors.New("peers is a name, which resolves to as many nodes as have started: write nodes=3, or how many the cluster is first made of")
		}
		return nil
	}
	for i, p := range o.Peers {
		if strings.HasPrefix(p, dnsPrefix) {
			return errors.New("peers: a dns: name stands alone: write peers=dns:NAME:PORT, or the address of each node")
		}
		if _, err := checkAddress("peers", p); err != nil {
			return err
		}
		if slices.Contains(o.Peers[:i], p) {
			return fmt.Errorf("peers: %s is there twice: write each node once", p)
		}
	}
	if !slices.Contains(o.Peers, o.Listen) && !unspecified(host) {
		return fmt.Errorf("peers do not have this node's own address: add %s to them, on all nodes alike", o.Listen)
	}
	if o.Nodes == 0 {
		o.Nodes = len(o.Peers)
	}
	if o.Nodes < 1 || o.Nodes > len(o.Peers) {
		return fmt.Errorf("nodes: %d of %d peers make no cluster: leave it out, or write from 1 to %d", o.Nodes, len(o.Peers), len(o.Peers))
	}
	return nil
}

func (o *Options) checkSecret(host string) error {
	if o.Secret != "" && o.SecretFile != "" {
		return errors.New("there are two secrets: write secret-file, or set COATCHECK_CLUSTER_SECRET, not both")
	}
	if o.Secret == "" && o.SecretFile == "" && !loopback(host) {
		return fmt.Errorf("listen: %s can be reached by others, who could join: give all nodes a secret, by secret-file=FILE or COATCHECK_CLUSTER_SECRET, or listen on 127.0.0.1", o.Listen)
	}
	return checkGuess(o.Secret)
}

func checkGuess(secret string) error {
	if secret != "" && len(secret) < minSecret {
		return fmt.Errorf("the secret can be guessed: take at least %d characters, such as from openssl rand -base64 32", minSecret)
	}
	return nil
}

// readSecret reads the file, if the secret is in one.
func (o *Options) readSecret() error {
	if o.SecretFile == "" {
		return nil
	}
	info, err := os.Stat(o.SecretFile)
	if err != nil {
		return fmt.Errorf("secret-file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("secret-file: %s can be read by others: chmod 600 it", o.SecretFile)
	}
	text, err := os.ReadFile(o.SecretFile)
	if err != nil {
		return fmt.Errorf("secret-file: %w", err)
	}
	o.Secret = strings.TrimSpace(string(text))
	if o.Secret == "" {
		return fmt.Errorf("secret-file: %s is empty: write the secret of all nodes into it", o.SecretFile)
	}
	return checkGuess(o.Secret)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}

var errTLS = errors.New("tls-cert, tls-key and tls-ca go together: write all three or none")

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	if t.Cert == "" || t.Key == "" || t.CA == "" {
		return nil, errTLS
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls-cert and tls-key: %w", err)
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls-ca: %s has no certificate in PEM", t.CA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
	}, nil
}
