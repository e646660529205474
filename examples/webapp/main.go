// Command webapp is a small web shop that shows what package web does for a web
// application: a basket that visitors fill before they sign in, forms that other
// sites cannot post, a page on which people see and end their sessions, and one
// that asks for the password again.
//
//	go run ./examples/webapp
//
// It prints a password, keeps sessions in webapp.db, and serves at
// http://localhost:8080. Browsers keep Secure cookies of localhost; anywhere
// else it needs TLS in front of it.
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
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
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
	if err := run(ctx, listener, "webapp.db", people); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, listener net.Listener, path string, people *accounts.Accounts) error {
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{
		Kind:   "visit",
		Policy: session.Policy{RegenerateInterval: time.Hour},
	})
	if err != nil {
		return err
	}
	app, err := newApp(manager, people)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: app, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return manager.Run(ctx) }) // removes expired sessions
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
		return server.Shutdown(deadline)
	})
	return group.Wait()
}
