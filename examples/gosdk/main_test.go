package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// noted are the session ids that clients hold. No log may have one.
var noted testkit.Secrets

func TestMain(m *testing.M) {
	http.DefaultTransport = noted.Transport(http.DefaultTransport)
	os.Exit(noted.Run(m))
}

func TestCountGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counter.db")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()

	stop := start(t, listener, path)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{})
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: "http://" + addr + "/mcp", DisableStandaloneSSE: true}, legacy())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for want := 1; want <= 2; want++ {
		if got := call(t, s); got != want {
			t.Fatalf("call %d: counted %d", want, got)
		}
	}

	stop()
	if listener, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	defer start(t, listener, path)()
	if got := call(t, s); got != 3 {
		t.Fatalf("after a restart: counted %d, want 3", got)
	}
}

// legacy asks for a revision that has sessions.
func legacy() *mcp.ClientSessionOptions {
	return &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"}
}

func start(t *testing.T, listener net.Listener, path string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, listener, path) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func call(t *testing.T, s *mcp.ClientSession) int {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "count"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var c counted
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c.N
}

// The README shows an excerpt of this program; it must be one.
func TestREADMEShowsThisProgram(t *testing.T) {
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the README has no Go code")
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			line = strings.TrimSpace(line)
			if line != "" && line != "..." && !strings.HasPrefix(line, "//") && !strings.Contains(string(program), line) {
				t.Errorf("README has a line that is not in main.go: %s", line)
			}
		}
	}
}
