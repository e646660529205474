package embedded

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Server is a node of the cluster, in this process. Use [Start] to make one,
// and Close to stop it.
type Server struct {
	opts    Options
	journal *journal
	tls     *tls.Config // nil: none
	user    *server.User
	lock    *os.File
	id      identity
	server  *server.Server
	running sync.WaitGroup // of what this has begun

	conn *natsgo.Conn
	js   jetstream.JetStream
	stop context.CancelFunc // of growing

	closing sync.Once
	err     error // of closing
}

const (
	// routeUser is not secret.
	routeUser = "coatcheck"
	// syncInterval is how often files are synced with NoSync.
	syncInterval = time.Second
	// look is how often a start looks whether it is done.
	look = 50 * time.Millisecond
	// lookAround is how often it looks for other nodes meanwhile.
	lookAround = time.Second
	// tlsTimeout is for machines that are busy.
	tlsTimeout = 10 * time.Second
)

// Start starts a node, and returns when it is part of a cluster that has a
// majority. On the first start of several nodes all of them have to be there.
// If the context ends before, the error says what was in the way.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if err := opts.readSecret(); err != nil {
		return nil, err
	}
	config, err := opts.TLS.config()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, tls: config, lock: lock, user: &server.User{Username: rand.Text(), Password: rand.Text()}}
	s.journal = newJournal(opts.Logger, s.password())
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	if s.id, err = readIdentity(s.opts.Dir, s.opts.Name); err != nil {
		return err
	}
	if s.id.Cluster == "" {
		err = s.found(ctx)
	} else {
		err = s.rejoin(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	growing, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() { s.grow(growing) })
	return nil
}

// found makes a cluster with the others, or becomes part of one that is there.
func (s *Server) found(ctx context.Context) error {
	if s.opts.Nodes == 1 {
		// It has to be known before anything is stored under it.
		s.id.Cluster = ownCluster()
		if err := s.id.write(s.opts.Dir); err != nil {
			return err
		}
		return s.rejoin(ctx)
	}
	name, err := s.clusterAround(ctx, defaultCluster)
	if err != nil {
		return err
	}
	if name, err = s.join(ctx, name); err != nil {
		return err
	}
	s.id.Cluster = name
	return s.id.write(s.opts.Dir)
}

// clusterAround is the name of the cluster that the other nodes are of: that
// which grew out of a single node, if there is one, else the name at hand.
func (s *Server) clusterAround(ctx context.Context, name string) (string, error) {
	for address, g := range s.opts.greetings(ctx, s.tls) {
		if g.Cluster == "" || g.Cluster == name || g.Cluster == defaultCluster {
			continue
		}
		if name != defaultCluster {
			return "", fmt.Errorf("node %s at %s is of another cluster than the other peers: one of them has to start anew, with an empty dir", g.Node, address)
		}
		name = g.Cluster
	}
	return name, nil
}

// rejoin goes on as a node of the cluster that the folder is of.
func (s *Server) rejoin(ctx context.Context) error {
	// Others of another cluster would not connect, and this node would go on
	// without them.
	for address, g := range s.opts.greetings(ctx, s.tls) {
		if g.Cluster != "" && g.Cluster != s.id.Cluster {
			return fmt.Errorf("node %s at %s is of another cluster, so this one cannot be of the same: one of the two has to start anew, with an empty dir", g.Node, address)
		}
	}
	_, err := s.join(ctx, s.id.Cluster)
	return err
}

// join runs the server until it is part of a cluster, and returns the name of
// that: not the one at hand if the others are of one with another name.
func (s *Server) join(ctx context.Context, name string) (string, error) {
	for {
		next, err := s.attempt(ctx, name)
		if err != nil || next == "" {
			return name, err
		}
		s.halt()
		name = next
	}
}

// attempt runs the server under the name of a cluster until it is part of that,
// or has to start again, with the peers that there are by then and the name
// that is returned.
func (s *Server) attempt(ctx context.Context, name string) (next string, err error) {
	peers := s.opts.addresses(ctx)
	if err := s.launch(name, peers); err != nil {
		return "", err
	}
	if s.alone() {
		stop, err := s.companion(name)
		if err != nil {
			return "", err
		}
		defer stop()
	}
	for {
		round, cancel := context.WithTimeout(ctx, lookAround)
		err := s.ready(round)
		cancel()
		if err == nil {
			return "", nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return "", s.explain(err)
		}
		if s.id.Cluster == "" {
			around, err := s.clusterAround(ctx, name)
			if err != nil || around != name {
				return around, err
			}
		}
		if s.opts.more(ctx, peers) {
			return name, nil
		}
	}
}

// explain adds what the server complained of.
func (s *Server) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no majority of the nodes is there, or at the first start not all (%s): %w", strings.Join(s.opts.Peers, ", "), err)
	}
	if last := s.journal.last(); last != "" {
		return fmt.Errorf("%w (%s)", err, last)
	}
	return err
}

// launch starts the server under the name of a cluster, with routes to the peers.
func (s *Server) launch(cluster string, peers []string) error {
	if err := seedPeers(s.opts.Dir, s.opts.Name, s.opts.Nodes); err != nil {
		return fmt.Errorf("prepare the folder: %w", err)
	}
	config, err := s.config(cluster, peers)
	if err != nil {
		return err
	}
	if s.server, err = server.NewServer(config); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	s.server.SetLoggerV2(s.journal, false, false, false)
	s.running.Go(s.server.Start)
	return nil
}

// config is that of the server.
func (s *Server) config(cluster string, peers []string) (*server.Options, error) {
	host, port, err := net.SplitHostPort(s.opts.Listen)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	config := &server.Options{
		ServerName: s.opts.Name,
		// Clients are in this process. Without any listener the server does
		// not start together with others, so there is one that only this
		// process has the password of.
		Host:  "127.0.0.1",
		Port:  server.RANDOM_PORT,
		Users: []*server.User{s.user},

		JetStream:  true,
		StoreDir:   s.opts.Dir,
		SyncAlways: !s.opts.NoSync,

		Routes: s.routes(peers),
		Cluster: server.ClusterOpts{
			Name: cluster, Host: host, Port: n, NoAdvertise: true,
			Username: routeUser, Password: s.password(),
			TLSConfig: s.tls, TLSTimeout: tlsTimeout.Seconds(),
		},

		NoSigs:                 true,
		DisableJetStreamBanner: true,
		// A node that waits for others tries each second: so now and then.
		ConnectErrorReports:   30,
		ReconnectErrorReports: 30,
	}
	if s.opts.NoSync {
		config.SyncInterval = s.opts.syncEvery
	}
	return config, nil
}

// routes are where the server connects to. A node alone has a route to itself,
// since one without any would not be clustered, and its data would be deleted
// when others come.
func (s *Server) routes(peers []string) []*url.URL {
	var all []*url.URL
	for _, p := range peers {
		if p != s.opts.Listen {
			all = append(all, s.routeTo(p)...)
		}
	}
	// Certificates may be for the name, which the server takes from here.
	if name, ok := strings.CutPrefix(s.opts.Peers[0], dnsPrefix); ok {
		all = append(all, s.routeTo(name)...)
	}
	if len(all) == 0 {
		all = s.routeTo(s.opts.Listen)
	}
	return all
}

func (s *Server) routeTo(address string) []*url.URL {
	return []*url.URL{{Scheme: "nats-route", User: url.UserPassword(routeUser, s.password()), Host: address}}
}

// password is what nodes show one another. The secret itself is not sent.
func (s *Server) password() string {
	mac := hmac.New(sha256.New, []byte(s.opts.Secret))
	mac.Write([]byte("coatcheck cluster route"))
	return hex.EncodeToString(mac.Sum(nil))
}

// ready returns when the node has a leader and what that has decided.
func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for !s.current() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case text := <-s.journal.fatal:
			return fmt.Errorf("start the node: %s", text)
		case <-tick.C:
		}
	}
	return nil
}

func (s *Server) current() bool {
	if !s.server.ReadyForConnections(look) || !s.server.JetStreamIsCurrent() {
		return false
	}
	info, err := s.server.Jsz(nil)
	return err == nil && info.Meta != nil && info.Meta.Leader != ""
}

// connect makes the connection that never leaves the process.
func (s *Server) connect() (err error) {
	s.conn, err = natsgo.Connect("",
		natsgo.InProcessServer(s.server),
		natsgo.UserInfo(s.user.Username, s.user.Password),
		natsgo.Name("coatcheck"),
		natsgo.MaxReconnects(-1),
		natsgo.ReconnectWait(100*time.Millisecond),
		natsgo.ReconnectBufSize(-1), // what cannot be sent is an error at once
	)
	if err != nil {
		return fmt.Errorf("connect to the node: %w", err)
	}
	s.js, err = jetstream.New(s.conn)
	return err
}

// Conn is a connection to the node, which ends with it.
func (s *Server) Conn() *natsgo.Conn { return s.conn }

// Name is the node's.
func (s *Server) Name() string { return s.opts.Name }

// Close hands over what this node leads, stops it, and leaves the folder to
// others. It may be called several times.
func (s *Server) Close() error {
	s.closing.Do(func() {
		if s.stop != nil {
			s.stop()
		}
		if s.conn != nil {
			s.conn.Close()
		}
		s.halt()
		s.running.Wait()
		s.err = s.lock.Close()
	})
	return s.err
}

// halt stops the server, if there is one.
func (s *Server) halt() {
	if s.server == nil {
		return
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
}
