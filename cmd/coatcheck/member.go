package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// clusterFlags make a server one of several replicas.
type clusterFlags struct {
	Advertise        string `placeholder:"URL" help:"Serve together with the other replicas on the same store; this is where they reach this one, such as http://10.0.0.7:8080. Port 0 stands for that of --listen."`
	HeartbeatTimeout span   `placeholder:"TIME" help:"How long a replica may be silent until the others take its sessions over: 3s, or 12s with cluster:, whose elections take up to 9s. The same for all."`
	PeerCA           string `name:"peer-ca" placeholder:"FILE" help:"Authorities that certified the other replicas, in PEM; the system's without it."`
	PeerCert         string `name:"peer-cert" placeholder:"FILE" help:"This replica's client certificate, in PEM. With it, replicas accept one another's requests only with certificates of --peer-ca."`
	PeerKey          string `name:"peer-key" placeholder:"FILE" help:"The key of --peer-cert, in PEM."`
}

// peerTLS is how replicas know one another.
type peerTLS struct {
	client *tls.Config    // nil: the system's authorities
	accept *x509.CertPool // of whose certificates clients must be to forward; nil: any
}

func (c *clusterFlags) check() error {
	switch {
	case c.Advertise != "" && !namesAReplica(c.Advertise):
		// It is not repeated, since it may hold a password by mistake.
		return usagef("--advertise: write scheme, host and port of this replica alone, such as http://10.0.0.7:8080")
	case c.Advertise == "" && (c.PeerCA != "" || c.PeerCert != ""):
		return usagef("--peer-ca and --peer-cert are for replicas: write --advertise URL too")
	case (c.PeerCert == "") != (c.PeerKey == ""):
		return usagef("--peer-cert and --peer-key go together: write both or neither")
	case c.PeerCert != "" && c.PeerCA == "":
		return usagef("--peer-cert is for replicas that verify one another: write --peer-ca FILE too")
	}
	return nil
}

func namesAReplica(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}

// peers reads the files that the flags name.
func (c *clusterFlags) peers() (p peerTLS, err error) {
	if c.PeerCA == "" {
		return p, nil
	}
	text, err := os.ReadFile(c.PeerCA)
	if err != nil {
		return p, usagef("--peer-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return p, usagef("--peer-ca: %s has no certificate in PEM", c.PeerCA)
	}
	p.client = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if c.PeerCert == "" {
		return p, nil
	}
	pair, err := tls.LoadX509KeyPair(c.PeerCert, c.PeerKey)
	if err != nil {
		return p, usagef("--peer-cert and --peer-key: %w", err)
	}
	p.client.Certificates = []tls.Certificate{pair}
	p.accept = pool
	return p, nil
}

// mutual has the server ask its clients for certificates, of which only
// replicas need one.
func (p *peerTLS) mutual(server *tls.Config) error {
	if p.accept == nil {
		return nil
	}
	if server == nil {
		return usagef("--peer-cert needs HTTPS between replicas: write --tls-cert FILE and --tls-key FILE too")
	}
	server.ClientAuth, server.ClientCAs = tls.VerifyClientCertIfGiven, p.accept
	return nil
}

// join makes the server a member of the cluster of its store, if it is to be.
func (s *server) join(ctx context.Context, peers peerTLS) error {
	if s.cmd.Advertise == "" {
		return nil
	}
	if !s.store.Guarantees().Shared {
		return usagef("--advertise is for replicas that share a store, and %s is this process's own: write --store redis://HOST:6379, or leave --advertise out", s.place)
	}
	advertise, err := advertised(s.cmd.Advertise, s.mcpListener.Addr())
	if err != nil {
		return err
	}
	node, err := cluster.Join(ctx, s.store, cluster.Options{
		Namespace: s.cmd.Namespace,
		Advertise: advertise,
		Version:   version(),
		Timeout:   s.heartbeatTimeout(),
		TLS:       peers.client,
		Mutual:    peers.accept != nil,
		Logger:    s.log,
	})
	if err != nil {
		return err
	}
	s.node = node
	return s.metrics.registry.Register(newNodeMetrics(node))
}

const (
	// electedTimeout is longer than a cluster: takes to elect a leader, for
	// which nobody can write a heartbeat.
	electedTimeout = 12 * time.Second
	// electionPause is how long that may take, with some time for the first
	// heartbeat after it.
	electionPause = 11 * time.Second
)

// heartbeatTimeout is what was asked for, or what goes with the store.
func (s *server) heartbeatTimeout() time.Duration {
	if s.cmd.HeartbeatTimeout == 0 && s.place.url.Scheme() == open.Cluster {
		return electedTimeout
	}
	return cmp.Or(time.Duration(s.cmd.HeartbeatTimeout), cluster.DefaultTimeout)
}

// advertised is the URL with the port of the listener in the place of 0.
func advertised(text string, listener net.Addr) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Port() != "0" {
		return text, err
	}
	_, port, err := net.SplitHostPort(listener.String())
	if err != nil {
		return "", fmt.Errorf("find the port of --listen: %w", err)
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	return u.String(), nil
}

// name is what this replica is called: as the owner of sessions, where there
// are several.
func (s *server) name() string {
	if s.node != nil {
		return s.node.Name()
	}
	return s.replica
}

var errCutOff = errors.New("this replica cannot tell whether the others count on it")

// electing reports whether the store may be electing a leader: that takes all
// replicas alike, and a balancer that was told that none of them is ready could
// only refuse what they let wait. One that is cut off by itself does not know
// that at first either; the others take its sessions over no sooner.
func (s *server) electing() bool {
	return s.storeNode != nil && s.node != nil && s.node.Silence() < s.heartbeatTimeout()/3+electionPause
}

// counted reports whether the other replicas count on this one.
func (s *server) counted() error {
	if s.node != nil && !s.node.Confirmed() {
		return errCutOff
	}
	return nil
}
