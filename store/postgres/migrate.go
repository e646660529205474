package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/state"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrationLock is the key of the advisory lock under which one replica
// changes the schema while the others wait.
const migrationLock = 0x636f6174636865 // "coatche"

// A migration is one file of the folder schema.
type migration struct {
	version int
	sql     string
}

func migrations() ([]migration, error) {
	files, err := schemaFiles.ReadDir("schema")
	if err != nil {
		return nil, err
	}
	var list []migration
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", f.Name(), err)
		}
		sql, err := schemaFiles.ReadFile("schema/" + f.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, migration{version, string(sql)})
	}
	slices.SortFunc(list, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	return list, nil
}

// migrate brings the schema up to date. Any number of replicas may start at
// once.
func (s *Store) migrate(ctx context.Context) error {
	list, err := migrations()
	if err != nil {
		return err
	}
	newest := list[len(list)-1].version
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		have, err := s.schemaVersion(ctx, tx)
		if err != nil || have == newest {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		// Somebody else may have done it meanwhile.
		if have, err = s.schemaVersion(ctx, tx); err != nil || have == newest {
			return err
		}
		if have > newest {
			return fmt.Errorf("schema %q is of version %d, and this release knows %d: run a newer release", s.opts.Schema, have, newest)
		}
		return s.upgrade(ctx, tx, list, have)
	})
	if err == nil || errors.Is(err, state.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("bring schema %q up to date: %w", s.opts.Schema, err)
}

// schemaVersion returns the version of the schema; 0 if there is none.
func (s *Store) schemaVersion(ctx context.Context, tx pgx.Tx) (version int, err error) {
	var exists bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = 'coatcheck_schema')`, s.opts.Schema).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	err = tx.QueryRow(ctx, s.in("SELECT coalesce(max(version), 0) FROM {s}.coatcheck_schema")).Scan(&version)
	return version, err
}

// upgrade applies the migrations behind version have.
func (s *Store) upgrade(ctx context.Context, tx pgx.Tx, list []migration, have int) error {
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", s.opts.Schema).Scan(&exists)
	if err != nil {
		return err
	}
	prepare := s.in(`SET LOCAL client_min_messages = warning;
		CREATE TABLE IF NOT EXISTS {s}.coatcheck_schema (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());`)
	if !exists {
		prepare = s.in("CREATE SCHEMA {s}; ") + prepare
	}
	if err := script(ctx, tx, prepare); err != nil {
		return err
	}
	for _, m := range list {
		if m.version <= have {
			continue
		}
		if err := script(ctx, tx, s.in(m.sql)); err != nil {
			return fmt.Errorf("migration %d: %w", m.version, err)
		}
		if _, err := tx.Exec(ctx, s.in("INSERT INTO {s}.coatcheck_schema (version) VALUES ($1)"), m.version); err != nil {
			return err
		}
	}
	return nil
}

// script runs several statements.
func script(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// in puts the schema's name into a statement of this package.
func (s *Store) in(sql string) string { return strings.ReplaceAll(sql, "{s}", s.schema) }
