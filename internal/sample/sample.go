package sample

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// Options of a Sample.
type Options struct {
	// Sessions are the MCP sessions of the server. The records of the sample
	// are kept in the same store and namespace. Required.
	Sessions *session.Manager
	// Replica returns the name that whoami tells. Required.
	Replica func() string
	// Version is the server's version, told to clients. Empty: "dev".
	Version string
	// Observe is told what happens to baskets; nil: nobody.
	Observe func(context.Context, session.Event)
	// Logger is told what operators may have to act on; nil: nobody is. The
	// SDK's server does not get it: it would log every connection, and the
	// resources that clients subscribe to.
	Logger *slog.Logger
}

// Sample is the server with its records. Create it with [New]; its methods may
// be called concurrently.
type Sample struct {
	replica func() string
	server  *mcp.Server
	baskets *session.Manager
	notes   *notes
}

// New returns a Sample. What is wrong with the options is an error.
func New(opts Options) (*Sample, error) {
	if opts.Sessions == nil || opts.Replica == nil {
		return nil, errors.New("new sample: sessions and replica are required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	baskets, err := newBaskets(opts)
	if err != nil {
		return nil, fmt.Errorf("new sample: %w", err)
	}
	notes, err := newNotes(opts)
	if err != nil {
		return nil, fmt.Errorf("new sample: %w", err)
	}
	s := &Sample{replica: opts.Replica, baskets: baskets, notes: notes}
	s.server = s.newServer(opts)
	return s, nil
}

// Server returns the MCP server, the same for every request.
func (s *Sample) Server() *mcp.Server { return s.server }

// Run ends expired baskets and notes from time to time, until ctx is done. It
// returns nil then.
func (s *Sample) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return s.baskets.Run(ctx) })
	g.Go(func() error { return s.notes.manager.Run(ctx) })
	return g.Wait()
}

const instructions = `A sample shop. Put items into a basket with add_item and look at it with view_basket. ` +
	`If a tool says that it needs a basket_id, call create_basket and pass the basket_id it returns.`

func (s *Sample) newServer(opts Options) *mcp.Server {
	server := mcp.NewServer(
		&mcp.Implementation{Name: "coatcheck-sample", Title: "Coatcheck sample shop", Version: opts.Version},
		&mcp.ServerOptions{
			Instructions:       instructions,
			SubscribeHandler:   s.notes.subscribe,
			UnsubscribeHandler: s.notes.unsubscribe,
		})
	s.addBasketTools(server)
	s.addNoteTools(server)
	mcp.AddTool(server, &mcp.Tool{
		Name:        "ask_name",
		Description: "Asks the user for a name and greets them.",
	}, askName)
	mcp.AddTool(server, &mcp.Tool{
		Name:        "countdown",
		Description: "Counts down the given number of seconds and reports progress each second.",
	}, countdown)
	mcp.AddTool(server, &mcp.Tool{
		Name:        "whoami",
		Description: "Tells which replica answered, and how it sees the caller.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, s.whoami)
	return server
}

// user is the principal of a call, as the server verified it; empty if it
// verifies none.
func user(req *mcp.CallToolRequest) string {
	if req.Extra == nil || req.Extra.TokenInfo == nil {
		return ""
	}
	return req.Extra.TokenInfo.UserID
}
