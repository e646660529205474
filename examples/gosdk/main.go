// Command gosdk is the smallest MCP server in Go whose sessions survive it: a
// tool that counts, in the session, how often its client has called it.
//
//	go run ./examples/gosdk
//
// Connect a client to http://127.0.0.1:8080/mcp, call "count", stop the
// program, start it again, and go on counting.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("MCP endpoint http://%s/mcp", listener.Addr())
	if err := run(ctx, listener, "counter.db"); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, listener net.Listener, path string) error {
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		return err
	}
	server := newServer()
	getServer := func(*http.Request) *mcp.Server { return server }
	handler, err := gosdk.NewHandler(getServer, manager, &gosdk.Options{Events: store})
	if err != nil {
		return err
	}
	defer handler.Close()

	mux := http.NewServeMux()
	mux.Handle("/mcp", handler)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	swept := make(chan error, 1)
	go func() { swept <- manager.Run(ctx) }() // removes expired sessions
	go func() {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = handler.Drain(deadline) // running calls end, sessions stay in the store
		_ = web.Shutdown(deadline)
	}()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-swept
}

func newServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "counter", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "count", Description: "counts the calls of this session"}, count)
	return server
}

type counted struct {
	N int `json:"n"`
}

func count(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, counted, error) {
	s, ok := gosdk.FromContext(ctx)
	if !ok {
		return nil, counted{}, errors.New("this client speaks a revision without sessions")
	}
	var c counted
	err := s.Update(ctx, func(s *session.Session) error {
		if _, err := s.Get("count", &c); err != nil {
			return err
		}
		c.N++
		return s.Set("count", c)
	})
	return nil, c, err
}
