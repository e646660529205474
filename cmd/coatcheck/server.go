package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/internal/sample"
	"github.com/coatcheck-mcp/coatcheck/internal/sample/everything"
	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// Bounds of what one connection may hold on to.
const (
	headerTimeout  = 10 * time.Second
	keepAlive      = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// server is a running "coatcheck serve".
type server struct {
	cmd     *serveCmd
	log     *slog.Logger
	replica string

	place   place
	stack   stack
	metrics *metrics
	audit   *auditing
	store   open.Store
	// storeNode is the node of a cluster: store; nil with others.
	storeNode *embedded.Server
	node      *cluster.Node // nil: the only replica
	manager   *session.Manager
	sample    hosted
	identity  *identity
	handler   *gosdk.Handler
	admin     *admin.Handler

	mcpListener, adminListener net.Listener
	mcpHTTP, adminHTTP         *http.Server
	lull                       lull // of requests to mcpHTTP
	leaving                    sync.Once
}

// start opens everything but serves nothing yet. If it fails, nothing is left
// open.
func (c *serveCmd) start(ctx context.Context, set settings, log *slog.Logger) (_ *server, err error) {
	s := &server{cmd: c, log: log, place: set.place, stack: set.stack}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// The addresses come first: a second server on the same ones must not
	// make a store.
	if s.mcpListener, err = listen("--listen", c.Listen, set.tls); err != nil {
		return nil, err
	}
	if s.adminListener, err = listen("--admin-listen", c.AdminListen, nil); err != nil {
		return nil, err
	}
	if s.replica, err = newReplicaName(); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(set.stack.caches.Tiers()); err != nil {
		return nil, err
	}
	s.audit = &auditing{metrics: s.metrics, collector: session.Collector{TrustedProxies: set.proxies}}
	if s.audit.log, err = c.openAudit(log, s.metrics.security.AuditDropped); err != nil {
		return nil, err
	}
	if s.store, err = set.place.open(ctx, s.storeOptions()); err != nil {
		return nil, err
	}
	g := s.store.Guarantees()
	log.Info("the store is open", "store", s.place.String(), "durability", g.Durability.String(), "replication", cmp.Or(string(g.Replication), "none, it keeps no copies"), "staleness", g.Staleness)
	if err := s.join(ctx, set.peers); err != nil {
		return nil, err
	}
	if err := s.build(set); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *server) storeOptions() open.Options {
	opts := s.stack.options(s.metrics, s.log)
	opts.Logger = s.log
	opts.OnNode = func(node *embedded.Server) { s.storeNode = node }
	opts.Encryption = encrypted.Options{OnRefusal: func(ctx context.Context, r encrypted.Refusal) {
		s.log.ErrorContext(ctx, "a stored message was not opened", "ref", r.Key.Ref, "version", r.Version, "key", r.KeyID, "error", r.Err)
	}}
	return opts
}

// build connects the parts.
func (s *server) build(set settings) (err error) {
	s.manager, err = session.NewManager(s.store, session.Options{
		Namespace:  s.cmd.Namespace,
		Policy:     set.policy,
		RoutingKey: set.place.routingKey(),
		Observe:    s.audit.observe,
		Logger:     s.log,
	})
	if err != nil {
		return err
	}
	if s.sample, err = s.host(); err != nil {
		return err
	}
	s.handler, err = gosdk.NewHandler(func(*http.Request) *mcp.Server { return s.sample.server }, s.manager, &gosdk.Options{
		Events:         s.store,
		Cluster:        s.node,
		AllowedHosts:   s.cmd.AllowedHost,
		AllowedOrigins: s.cmd.AllowedOrigin,
		Collector:      s.audit.collector,
		Logger:         s.log,
	})
	if err != nil {
		return err
	}
	s.admin = admin.New(admin.Options{
		Ready:    s.ready,
		Metrics:  s.metrics.handler(),
		Sessions: admin.NewLocal(s.store, s.cmd.Namespace, s.audit.observe),
		Doctor: func(ctx context.Context, report func(admin.Finding) error) error {
			return newDoctor(s.store, s.place, s.storeNode).examine(ctx, report)
		},
		Token: set.adminToken,
	})

	mux := http.NewServeMux()
	s.identity = set.identity
	endpoint := s.identity.protect(s.handler, mux, s.audit.refused)
	mux.Handle("/mcp", s.lull.count(withBodyTimeout(endpoint, bodyTimeout)))
	if s.node != nil {
		mux.Handle(cluster.PeerPath, withBodyTimeout(s.node.Peers(), bodyTimeout))
	}
	s.mcpHTTP = s.httpServer(mux)
	s.adminHTTP = s.httpServer(s.admin)
	return nil
}

// hosted is the MCP server with what it does in the background.
type hosted struct {
	server *mcp.Server
	run    func(context.Context) error
}

func (s *server) host() (hosted, error) {
	if s.cmd.Sample == "conformance" {
		server, err := everything.New(version())
		return hosted{server: server, run: func(context.Context) error { return nil }}, err
	}
	shop, err := sample.New(sample.Options{
		Sessions: s.manager,
		Replica:  s.name,
		Version:  version(),
		Observe:  s.audit.observe,
		Logger:   s.log,
	})
	if err != nil {
		return hosted{}, err
	}
	return hosted{server: shop.Server(), run: shop.Run}, nil
}

func (s *server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// ready reports whether requests can be served. What a store says may name
// files; others need not know.
func (s *server) ready(ctx context.Context) error {
	if s.electing() {
		return nil
	}
	if err := state.Ping(ctx, s.store, s.cmd.Namespace); err != nil {
		s.log.WarnContext(ctx, "the store does not answer", "error", err)
		return errors.New("the store does not answer")
	}
	return s.counted()
}

// run serves until ctx is done and then drains. It closes everything.
func (s *server) run(ctx context.Context) error {
	defer s.close()
	// Work in the background goes on while calls drain.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work, failing := errgroup.WithContext(background)
	work.Go(func() error { return serve(s.mcpHTTP, s.mcpListener) })
	work.Go(func() error { return serve(s.adminHTTP, s.adminListener) })
	work.Go(func() error { return s.manager.Run(failing) })
	work.Go(func() error { return s.sample.run(failing) })
	work.Go(func() error { return s.identity.follow(failing) })
	if s.audit.log != nil {
		work.Go(func() error { return s.audit.reopen(failing, s.log) })
	}
	if s.place.ring != nil {
		work.Go(func() error { return s.place.ring.Run(failing, reloadEvery, s.oldKeys) })
	}

	select {
	case <-ctx.Done():
		s.log.Info("draining", "timeout", time.Duration(s.cmd.DrainTimeout))
	case <-failing.Done():
	}
	s.drain()
	stop()
	return work.Wait()
}

// oldKeys is told that the key ring could not be read again.
func (s *server) oldKeys(err error) {
	s.log.Error("the keys stay as they are", "error", err)
}

// serve returns nil once the server was shut down.
func serve(srv *http.Server, l net.Listener) error {
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// drain lets running calls end, as long as the flag allows, and then cuts off
// what is left. Sessions stay in the store. The listener closes before streams
// end: their clients then try until the next process listens.
func (s *server) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.cmd.DrainTimeout))
	defer cancel()
	s.admin.Drain()
	if s.node != nil {
		if err := s.node.Drain(ctx); err != nil {
			s.log.Warn("the other replicas do not know of the drain", "error", err)
		}
	}
	_ = s.handler.Quiesce(ctx) // what it says, Drain says again
	if s.node != nil {
		s.lull.await(ctx, time.Duration(s.cmd.DrainDelay)) // others serve what comes meanwhile
	}
	refusing := make(chan struct{})
	s.mcpHTTP.RegisterOnShutdown(func() { close(refusing) })
	var down errgroup.Group
	down.Go(func() error { return shutdown(ctx, s.mcpHTTP) })
	<-refusing
	if err := s.handler.Drain(ctx); err != nil {
		s.log.Warn("calls were cut off", "error", err)
	}
	s.leave()
	if err := errors.Join(down.Wait(), shutdown(ctx, s.adminHTTP)); err != nil {
		s.log.Warn("connections were cut off", "error", err)
	}
}

// shutdown waits for the requests of a server, and cuts them off when ctx ends.
func shutdown(ctx context.Context, srv *http.Server) error {
	err := srv.Shutdown(ctx)
	if err != nil {
		srv.Close()
	}
	return err
}

// leave frees what this replica owns for the others.
func (s *server) leave() {
	if s.node != nil {
		s.leaving.Do(func() { s.closing("cluster", s.node.Close) })
	}
}

// close closes what is open, the last opened first.
func (s *server) close() {
	if s.handler != nil {
		s.closing("handler", s.handler.Close)
	}
	s.leave()
	if s.store != nil {
		s.closing("store", s.store.Close)
	}
	if s.audit != nil {
		s.closing("audit log", s.audit.close)
	}
	for _, l := range []net.Listener{s.adminListener, s.mcpListener} {
		if l != nil {
			l.Close() // an error says that the server closed it
		}
	}
}

func (s *server) closing(what string, fn func() error) {
	if err := fn(); err != nil {
		s.log.Error("not closed cleanly", "what", what, "error", err)
	}
}

func listen(flag string, addr listenAddr, conf *tls.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", string(addr))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: write another address, or stop what uses it", flag, err)
	}
	if conf != nil {
		return tls.NewListener(l, conf), nil
	}
	return l, nil
}

func (s *server) url() string {
	scheme := "http"
	if s.cmd.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.mcpListener.Addr().String() + "/mcp"
}

func (s *server) adminURL() string { return "http://" + s.adminListener.Addr().String() }

// newReplicaName names this process, for as long as it lives. It tells nothing
// of the machine.
func newReplicaName() (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("name the replica: %w", err)
	}
	return "replica-" + hex.EncodeToString(b[:]), nil
}
