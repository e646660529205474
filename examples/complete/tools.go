package main

import (
	"context"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// newTools returns the MCP server: a list that each client has for itself.
func newTools() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "session-server", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "remember", Description: "adds a line to the list of this session, and returns the list"}, remember)
	return server
}

type line struct {
	Text string `json:"text"`
}

type list struct {
	User  string   `json:"user"`
	Lines []string `json:"lines"`
}

func remember(ctx context.Context, _ *mcp.CallToolRequest, in line) (*mcp.CallToolResult, list, error) {
	s, ok := gosdk.FromContext(ctx)
	if !ok {
		return nil, list{}, errors.New("this client speaks a revision without sessions")
	}
	var lines []string
	err := s.Update(ctx, func(s *session.Session) error {
		lines = nil // the function may run again
		if _, err := s.Get("lines", &lines); err != nil {
			return err
		}
		lines = append(lines, in.Text)
		return s.Set("lines", lines)
	})
	return nil, list{User: s.User(), Lines: lines}, err
}
