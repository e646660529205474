// Command coatcheck serves MCP with sessions that survive, and lets operators
// see and end them.
//
//	coatcheck serve                      a sample MCP server at /mcp
//	coatcheck sessions list|show|explain|watch|revoke
//	coatcheck store migrate              everything from one store to another
//	coatcheck keys generate|list|rotate|revoke
//	                                     the keys that records are encrypted with
//	coatcheck doctor                     what is wrong with a store
//
// It is flags and wiring; what it does is in the packages of the library. It
// exits 0 when it did what was asked, 1 when it could not, and 2, with one line
// that says what to write instead, when it was asked wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// app is what commands get besides their flags.
type app struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

type cli struct {
	Serve    serveCmd    `cmd:"" help:"Serve the sample MCP server at /mcp, its sessions kept in a store."`
	Sessions sessionsCmd `cmd:"" help:"Look at the sessions in a store, and end them."`
	Store    storeCmd    `cmd:"" help:"Move everything from one store to another."`
	Keys     keysCmd     `cmd:"" help:"Make a key ring, look at it, and rotate its keys."`
	Doctor   doctorCmd   `cmd:"" help:"Examine a store and a configuration, and say what is wrong with them."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// usageError is a mistake in what was asked, not in the world.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// leave is thrown by kong's --help, which has printed all there is to say.
type leave int

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if thrown := recover(); thrown != nil {
			status, ok := thrown.(leave)
			if !ok {
				panic(thrown)
			}
			code = int(status)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("coatcheck"),
		kong.Description("Keeps the state of MCP servers: sessions that survive restarts."),
		kong.DefaultEnvars("COATCHECK"),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(leave(status)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	)
	if err != nil {
		return fail(stderr, err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fail(stderr, usageError{err})
	}
	return fail(stderr, parsed.Run(&app{ctx: ctx, stdout: stdout, stderr: stderr}))
}

// fail says in one line why, and returns the exit status.
func fail(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "coatcheck:", strings.Join(strings.Fields(err.Error()), " "))
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitError
}
