package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/coatcheck-mcp/coatcheck/audit"
	"github.com/coatcheck-mcp/coatcheck/auth"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// auditFlags say where it is written down who did what.
type auditFlags struct {
	Audit string `placeholder:"FILE" help:"Append a JSON object for each event of security to this file, or with - to the log."`
}

// openAudit opens the log, or returns nil if none is asked for.
func (f *auditFlags) openAudit(log *slog.Logger, onDrop func()) (*audit.Log, error) {
	opts := audit.Options{Logger: log, OnDrop: onDrop}
	switch f.Audit {
	case "":
		return nil, nil
	case "-":
		return audit.ToLogger(log, opts), nil
	}
	opened, err := audit.Open(f.Audit, opts)
	if err != nil {
		return nil, usagef("--audit: %w", err)
	}
	return opened, nil
}

// auditing is what of a server is told of security: its metrics, and the audit
// log if there is one.
type auditing struct {
	log       *audit.Log // nil: none is kept
	metrics   *metrics
	collector session.Collector
}

// observe is told what happens to sessions.
func (a *auditing) observe(ctx context.Context, e session.Event) {
	a.metrics.Observe(ctx, e)
	a.metrics.security.Observe(ctx, e)
	if a.log != nil {
		a.log.Observe(ctx, e)
	}
}

// refused is told of requests whose credentials were not accepted.
func (a *auditing) refused(r *http.Request, reason auth.Reason) {
	a.metrics.security.AuthRefused(string(reason))
	if a.log == nil {
		return
	}
	from := ""
	if address := a.collector.Address(r); address.IsValid() {
		from = address.String()
	}
	a.log.Record(audit.Event{Event: "auth.refused", From: from, Why: string(reason), Result: audit.Refused})
}

// reopen opens the file anew on SIGHUP, which is what tools send that rotate
// files, until ctx ends.
func (a *auditing) reopen(ctx context.Context, log *slog.Logger) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			if err := a.log.Reopen(); err != nil {
				log.ErrorContext(ctx, "the audit log stays in the file it was in", "error", err)
			}
		}
	}
}

func (a *auditing) close() error {
	if a.log == nil {
		return nil
	}
	return a.log.Close()
}
