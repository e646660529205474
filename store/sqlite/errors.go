package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// failure turns an error of SQLite, or of what is stored, into one of package
// state, for an operation that is known to have written nothing.
func (s *Store) failure(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%s: %w on the disk of %s: free some, or raise the quota; it goes on by itself then (%w)",
			doing, state.ErrFull, s.path, err)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.LOCKED):
		return fmt.Errorf("%s: %w: another process has locked %s for longer than %v (%w)",
			doing, state.ErrUnavailable, s.path, s.opts.BusyTimeout, err)
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		return fmt.Errorf("%s: %w: %w: %s is damaged, restore it from a backup (%w)",
			doing, state.ErrUnavailable, state.ErrCorrupt, s.path, err)
	case errors.Is(err, state.ErrCorrupt):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %s: %w", doing, state.ErrUnavailable, s.path, err)
}

// readFailure is failure for a read under ctx, which may have interrupted it.
func (s *Store) readFailure(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(err, sqlite3.INTERRUPT) {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return s.failure(doing, err)
}

// openFailure explains why the store cannot be opened. The caller names the
// path.
func (s *Store) openFailure(err error) error {
	switch {
	case errors.Is(err, sqlite3.NOTADB):
		return fmt.Errorf("%w: it is not an SQLite database: give the path of another file, or restore it from a backup (%w)",
			state.ErrCorrupt, err)
	case errors.Is(err, sqlite3.CORRUPT):
		return fmt.Errorf("%w: it is damaged: restore it from a backup (%w)", state.ErrCorrupt, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.PERM):
		return fmt.Errorf("%w: this user may not read and write it and its folder: change their owner or mode (%w)",
			fs.ErrPermission, err)
	case errors.Is(err, sqlite3.BUSY):
		return fmt.Errorf("%w: another process has locked it for longer than %v (%w)",
			state.ErrUnavailable, s.opts.BusyTimeout, err)
	case isFull(err):
		return fmt.Errorf("%w: free some on its disk, or raise the quota (%w)", state.ErrFull, err)
	}
	return err
}

func isFull(err error) bool {
	return errors.Is(err, sqlite3.FULL) ||
		errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
