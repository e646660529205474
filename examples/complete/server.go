package main

import (
	"context"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A server is everything behind the listener.
type server struct {
	store   open.Store
	people  *accounts.Accounts
	visits  *session.Manager // of people, in a cookie or header
	clients *session.Manager // of MCP clients, in Mcp-Session-Id
	csrf    *web.CSRF
	mcp     *gosdk.Handler
	handler http.Handler
}

// createSessionEnabledServer puts it together: store, encryption, managers,
// and the middleware around the MCP handler.
func createSessionEnabledServer(ctx context.Context, getenv func(string) string, people *accounts.Accounts) (_ *server, err error) {
	s := &server{people: people}
	if s.store, err = openStore(ctx, getenv); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	policy := session.Policy{
		AbsoluteLifetime: 24 * time.Hour,
		IdleTimeout:      2 * time.Hour,
		MaxPerUser:       5,
		SweepInterval:    15 * time.Minute,
	}
	if s.visits, err = session.NewManager(s.store, session.Options{Namespace: namespace, Kind: "visit", Policy: policy}); err != nil {
		return nil, err
	}
	if s.clients, err = session.NewManager(s.store, session.Options{Namespace: namespace, Policy: policy}); err != nil {
		return nil, err
	}
	sessions, err := web.New(s.visits, web.Options{
		Cookie: web.Cookie{SameSite: http.SameSiteStrictMode}, // and Secure, as always
		Header: "Session-Id",
	})
	if err != nil {
		return nil, err
	}
	if s.csrf, err = web.NewCSRF(s.visits, web.CSRFOptions{}); err != nil {
		return nil, err
	}
	tools := newTools()
	s.mcp, err = gosdk.NewHandler(func(*http.Request) *mcp.Server { return tools }, s.clients, &gosdk.Options{
		Events: s.store, Principal: signedInUser,
	})
	if err != nil {
		return nil, err
	}
	s.handler = sessions.Middleware(s.csrf.Middleware(s.routes()))
	return s, nil
}

// signedInUser says whose MCP session it is. The middleware around the endpoint
// has seen to it that somebody is signed in.
func signedInUser(r *http.Request) (string, error) {
	return web.FromContext(r.Context()).User(r.Context())
}

// sweep removes expired sessions until ctx is done.
func (s *server) sweep(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return s.visits.Run(ctx) })
	group.Go(func() error { return s.clients.Run(ctx) })
	return group.Wait()
}

func (s *server) close() {
	if s.mcp != nil {
		s.mcp.Close()
	}
	_ = s.store.Close() // what was acknowledged is stored
}
