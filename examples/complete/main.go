// Command complete is a whole MCP server with sessions: the store is chosen by
// the environment, sealed if there is a key, and the endpoint stands behind
// session and CSRF middleware, for clients that keep cookies and for those that
// do not.
//
//	SESSION_STORE           memory (the default), redis or postgres
//	REDIS_URL, DATABASE_URL where that is
//	SESSION_ENCRYPTION_KEY  32 random bytes in base64: seals what is stored
//
//	go run ./examples/complete
//
// It prints a password, and serves at http://localhost:8080. A program with a
// cookie jar takes the token from /csrf, posts user, password and csrf_token to
// /signin, and sends the token that /csrf has then with each request to /mcp,
// as X-Csrf-Token. One without posts user and password with "Session-Id: new",
// and goes on with the Session-Id of the answer.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	password := rand.Text()
	people, err := accounts.New(map[string]string{"ann": password}, accounts.Iterations)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://localhost:8080: sign in as ann with %s\n", password)
	if err := run(ctx, listener, os.Getenv, people); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, listener net.Listener, getenv func(string) string, people *accounts.Accounts) error {
	s, err := createSessionEnabledServer(ctx, getenv, people)
	if err != nil {
		return err
	}
	defer s.close()
	server := &http.Server{
		Handler: s.handler, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.sweep(ctx) })
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = s.mcp.Drain(deadline) // running calls end, sessions stay in the store
		return server.Shutdown(deadline)
	})
	return group.Wait()
}
