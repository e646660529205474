package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
)

type serveCmd struct {
	Listen      listenAddr `default:"127.0.0.1:8080" help:"Where MCP is served, at /mcp."`
	AdminListen listenAddr `default:"127.0.0.1:8081" help:"Where /healthz, /readyz, /metrics and /api are served."`

	storeFlags   `embed:""`
	stackFlags   `embed:""`
	tokenFlags   `embed:""`
	clusterFlags `embed:""`

	Sample string `default:"shop" enum:"shop,conformance" help:"What to serve: a shop that shows what sessions keep, or what the official conformance suite asks for."`

	authFlags   `embed:""`
	policyFlags `embed:""`
	auditFlags  `embed:""`

	TrustedProxy  []prefix `placeholder:"NET" help:"Proxies whose word on a client's address is taken, comma-separated or repeated."`
	AllowedHost   []string `placeholder:"HOST" help:"Names under which the server answers, comma-separated or repeated; without any, a loopback listener answers to loopback names and others to all."`
	AllowedOrigin []string `placeholder:"ORIGIN" help:"Web origins whose pages may call, such as https://app.example, comma-separated or repeated."`
	TLSCert       string   `name:"tls-cert" placeholder:"FILE" help:"Serve HTTPS with this certificate chain, in PEM."`
	TLSKey        string   `name:"tls-key" placeholder:"FILE" help:"The key of --tls-cert, in PEM."`

	DrainTimeout span       `default:"30s" help:"How long running calls may go on after SIGTERM."`
	DrainDelay   span       `default:"2s" help:"With --advertise: how long after SIGTERM requests are still taken, and passed on, until balancers have noticed. It ends early when none has come for a quarter of it."`
	LogLevel     slog.Level `default:"info" help:"Log from this level on: debug, info, warn or error."`
}

// settings is what the flags come to once they were checked and the files
// they name were read.
type settings struct {
	place      place
	stack      stack
	policy     session.Policy
	proxies    []netip.Prefix
	identity   *identity
	tls        *tls.Config // nil: plain HTTP
	peers      peerTLS
	adminToken string
	warnings   []string
}

func (c *serveCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	log := slog.New(newCalm(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: c.LogLevel})))
	set, err := c.settings(a.ctx, log)
	if err != nil {
		return err
	}
	for _, w := range set.warnings {
		log.Warn(w)
	}
	s, err := c.start(a.ctx, set, log)
	if err != nil {
		return err
	}
	s.greet(a.stdout)
	return s.run(a.ctx)
}

// greet says where to connect.
func (s *server) greet(w io.Writer) {
	fmt.Fprintf(w, "MCP endpoint  %s\nAdmin         %s/healthz /readyz /metrics /api/sessions\nStore         %s\n", s.url(), s.adminURL(), s.place)
	if s.stack.caches.Len() > 0 {
		fmt.Fprintf(w, "Caches        %s\n", s.stack.caches)
	}
	if level := s.store.Guarantees().Replication; level != "" {
		fmt.Fprintf(w, "Replication   %s\n", level)
	}
	fmt.Fprintf(w, "Replica       %s\n", s.name())
}

// check refuses combinations of flags that make no sense or are not safe.
func (c *serveCmd) check() error {
	if err := c.clusterFlags.check(); err != nil {
		return err
	}
	if err := errors.Join(c.checkAuth(c.Listen), c.checkPolicy()); err != nil {
		return err
	}
	switch {
	case c.AdminTokenFile == "" && !c.AdminListen.loopback():
		return usagef("--admin-listen %s can be reached by others: write --admin-token-file FILE too, or --admin-listen 127.0.0.1:8081", c.AdminListen)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return usagef("--tls-cert and --tls-key go together: write both or neither")
	}
	for _, host := range c.AllowedHost {
		if host == "" || strings.ContainsAny(host, "/ ") {
			return usagef("--allowed-host: %q is no host: write a name such as mcp.example or mcp.example:8443", host)
		}
	}
	for _, origin := range c.AllowedOrigin {
		if !validOrigin(origin) {
			return usagef("--allowed-origin: %q is no origin: write one such as https://app.example, or * for all", origin)
		}
	}
	return nil
}

func validOrigin(origin string) bool {
	if origin == "*" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin
}

// settings reads the files that the flags name.
func (c *serveCmd) settings(ctx context.Context, log *slog.Logger) (settings, error) {
	set := settings{policy: c.policy()}
	var err error
	if set.place, err = c.place(ctx); err != nil {
		return set, err
	}
	if set.stack, err = c.stack(); err != nil {
		return set, err
	}
	for _, p := range c.TrustedProxy {
		set.proxies = append(set.proxies, netip.Prefix(p))
	}
	if set.identity, err = c.openAuth(ctx, log); err != nil {
		return set, err
	}
	set.warnings = append(set.warnings, set.identity.warnings...)
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return set, usagef("--tls-cert and --tls-key: %w", err)
		}
		set.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	if set.peers, err = c.peers(); err != nil {
		return set, err
	}
	if err := set.peers.mutual(set.tls); err != nil {
		return set, err
	}
	if set.adminToken, err = readAdminToken(c.AdminTokenFile); err != nil {
		return set, usagef("--admin-token-file: %w", err)
	}
	return set, nil
}
