// Package everything is an MCP server that has what the official conformance
// suite asks for: tools, resources and prompts under the names and with the
// answers that its scenarios expect, for both eras. "coatcheck serve --sample
// conformance" hosts it. It keeps nothing and is of no other use.
package everything

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// New returns the server. version is told to clients.
func New(version string) (*mcp.Server, error) {
	sealed, err := newSeal()
	if err != nil {
		return nil, err
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "coatcheck-everything", Version: version}, &mcp.ServerOptions{
		CompletionHandler: func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
		},
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	media, err := newMedia()
	if err != nil {
		return nil, err
	}
	addContentTools(s, media)
	addNotifyingTools(s)
	addAskingTools(s)
	addSchemaTools(s)
	addChangingTools(s)
	addInputTools(s)
	addStatefulInputTools(s, sealed)
	addResources(s, media)
	addPrompts(s, media)
	return s, nil
}
