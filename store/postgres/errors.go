package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func corrupt(column string, err error) error {
	return fmt.Errorf("%w: column %s: %w", state.ErrCorrupt, column, err)
}

// unsent marks the error of an operation of which nothing reached the server.
type unsent struct{ error }

func (e unsent) Unwrap() error { return e.error }

// unavailable turns an error into one of package state, for what is known to
// have written nothing.
func unavailable(doing string, err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, state.ErrCorrupt), errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &pg):
		return fmt.Errorf("%s: %w", doing, serverError(pg))
	}
	return fmt.Errorf("%s: %w: %w", doing, state.ErrUnavailable, err)
}

// writeError is the same for a write.
func writeError(doing string, err error) error {
	switch {
	case belowLevel(err):
		return fmt.Errorf("%s: %w", doing, err)
	case err == nil || !lost(err):
		return unavailable(doing, err)
	}
	return fmt.Errorf("%s: %w: the connection was lost before the answer: %w", doing, state.ErrUnknownOutcome, err)
}

// lost reports whether the server may have done what it was asked for, but for
// its answer. An error that it reports has undone everything, save one that
// ends the connection: that may come after the commit.
func lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.SeverityUnlocalized != "ERROR" && pg.Severity != "ERROR"
	}
	var never unsent
	return !errors.As(err, &never) && !pgconn.SafeToRetry(err) && !errors.Is(err, state.ErrCorrupt)
}

// broken reports whether err is of the connection, not of what was asked.
func broken(err error) bool {
	var pg *pgconn.PgError
	var level *levelError
	switch {
	case errors.As(err, &pg):
		return pg.SeverityUnlocalized != "ERROR"
	case errors.As(err, &level):
		return false
	}
	return err != nil && !errors.Is(err, state.ErrCorrupt)
}

// serverError says what an error of the server means for a caller. Its detail
// and its context are left out, since they may hold data.
func serverError(pg *pgconn.PgError) error {
	switch {
	case pg.Code == "53100", pg.Code == "54P01":
		return fmt.Errorf("%w: PostgreSQL says %q (%s)", state.ErrFull, pg.Message, pg.Code)
	case pg.Code == "42501":
		return fmt.Errorf("%w: the database user lacks a privilege: %q (%s)", state.ErrUnavailable, pg.Message, pg.Code)
	case pg.Code == "25006":
		return fmt.Errorf("%w: the server is read-only; connect to the primary, for example with target_session_attrs=read-write (%s)",
			state.ErrUnavailable, pg.Code)
	case refusesValue(pg):
		return &state.InvalidError{What: "data value", Why: "PostgreSQL cannot store it (" + pg.Code + ")"}
	}
	return fmt.Errorf("%w: PostgreSQL says %q (%s)", state.ErrUnavailable, pg.Message, pg.Code)
}

// refusesValue reports whether the server could not take what it was given.
func refusesValue(pg *pgconn.PgError) bool {
	return strings.HasPrefix(pg.Code, "22") || pg.Code == "54000" || pg.Code == "54001"
}

// readOnly reports whether the server refused to write, as a primary does that
// has become a standby: another may have taken over.
func readOnly(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "25006"
}

// again reports whether the server undid what it was asked for because of
// somebody else, so that it may be tried again.
func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" && (pg.Code == "40001" || pg.Code == "40P01")
}

// late is the error of a caller whose time was over before anything was sent.
func late(ctx context.Context, doing string) error {
	return fmt.Errorf("%s: %w: no connection was free in time: %w", doing, state.ErrUnavailable, context.Cause(ctx))
}
