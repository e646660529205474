package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Where says what Find looks for. Everything given must hold; the zero value of
// a field asks for nothing.
//
// Data, paths and their variables are sent as parameters and are never part of
// a statement. Join, Cond and the SQL of an Order are SQL of the program, not of
// its users: write them as constants, and give values through Args.
type Where struct {
	// Query selects as List does. Max bounds the records; zero: 1000. After
	// is not considered.
	state.Query
	// Match holds JSON path predicates on the data.
	Match []Match

	// Join is SQL behind "FROM sessions AS t", such as
	// "JOIN accounts a ON a.login = t.user_id".
	Join string
	// Cond is a condition in SQL on t and on what Join brings, in which $1,
	// $2 … are the Args.
	Cond string
	Args []any

	// OrderBy sorts; what it leaves open is sorted by ref.
	OrderBy []Order
	// Offset skips so many records.
	Offset int
}

// Match is a condition on the data of a record, as PostgreSQL's
// jsonb_path_exists takes it: the path finds something. For example
// {Path: "$.cart.items[*] ? (@.price > $min)", Vars: {"min": 100}}.
// Values that jsonb cannot hold are not looked at; see the package comment.
type Match struct {
	Path string
	Vars map[string]any // by name, without the $; anything that encoding/json takes
}

// Order is one key of a sort: by what a JSON path first finds in the data, or by
// an SQL expression on t and on what [Where.Join] brings. JSON numbers are
// sorted as numbers; records in which the path finds nothing come last.
type Order struct {
	Path string
	SQL  string
	Desc bool
}

// Find returns records by what is in their data, by SQL conditions and in any
// order, live ones unless Expired is set. It is a single statement: it sees one
// moment. A path or a condition that PostgreSQL does not understand is
// [state.ErrInvalid].
func (s *Store) Find(ctx context.Context, w Where) ([]state.Record, error) {
	if err := state.CheckQuery(w.Query); err != nil {
		return nil, err
	}
	if w.Offset < 0 {
		return nil, &state.InvalidError{What: "offset", Why: "negative"}
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	sql, args, err := s.findSQL(w)
	if err != nil {
		return nil, err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, unavailable("find records", err)
	}
	defer conn.Release()
	// Not kept prepared: such queries are many, and planned for their values.
	args = append([]any{pgx.QueryExecModeCacheDescribe, pgx.QueryResultFormats(binaryFormat)}, args...)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, findError(err)
	}
	defer rows.Close()
	var found []state.Record
	for rows.Next() {
		r := row{values: rows.RawValues()}
		rec, _, err := r.record()
		if err != nil {
			return nil, unavailable("find records", err)
		}
		found = append(found, rec)
	}
	rows.Close()
	return found, findError(rows.Err())
}

// findSQL puts the statement together: of texts of this package and of the
// program, with a parameter for whatever else was given.
func (s *Store) findSQL(w Where) (sql string, args []any, err error) {
	f := finder{args: append([]any(nil), w.Args...)}
	w.After = state.Ref{}
	f.query(&w.Query)
	for _, m := range w.Match {
		vars, err := json.Marshal(m.Vars)
		if err != nil {
			return "", nil, &state.InvalidError{What: "variables of a match", Why: "cannot be encoded as JSON"}
		}
		if m.Vars == nil {
			vars = []byte("{}")
		}
		f.and("jsonb_path_exists(t.data, " + f.arg(m.Path) + "::text::jsonpath, " + f.arg(string(vars)) + "::text::jsonb)")
	}
	if w.Cond != "" {
		f.and("(" + w.Cond + "\n)") // a comment at its end ends with the line
	}
	limit := w.Max
	if limit <= 0 {
		limit = 1000
	}
	sql = s.in("SELECT "+recordColumns+" FROM {s}.sessions AS t ") + w.Join + "\n WHERE " + strings.Join(f.where, " AND ") +
		" ORDER BY " + f.order(w.OrderBy) + fmt.Sprintf(" LIMIT %d OFFSET %d", limit, w.Offset)
	return sql, f.args, nil
}

// A finder collects conditions and parameters.
type finder struct {
	where []string
	args  []any
}

func (f *finder) and(sql string) { f.where = append(f.where, sql) }

// arg adds a parameter and returns its placeholder.
func (f *finder) arg(v any) string {
	f.args = append(f.args, v)
	return placeholder(len(f.args))
}

// query adds the conditions of a Query.
func (f *finder) query(q *state.Query) {
	for _, cond := range conditionsOf(q) {
		if cond.arg == nil {
			f.and(cond.sql)
			continue
		}
		f.and(strings.Replace(cond.sql, "?", f.arg(cond.arg), 1))
	}
}

func (f *finder) order(by []Order) string {
	var keys []string
	for _, o := range by {
		key := o.SQL
		if o.Path != "" {
			key = "jsonb_path_query_first(t.data, " + f.arg(o.Path) + "::text::jsonpath)"
		}
		if key == "" {
			continue
		}
		if o.Desc {
			key += " DESC"
		}
		keys = append(keys, key+" NULLS LAST")
	}
	return strings.Join(append(keys, "t.id"), ", ")
}

// findError is unavailable, but that a query that the server does not
// understand is the caller's fault.
func findError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "42") && pg.Code != "42501" || strings.HasPrefix(pg.Code, "22")) {
		return fmt.Errorf("find records: %w: PostgreSQL says %q (%s)", state.ErrInvalid, pg.Message, pg.Code)
	}
	return unavailable("find records", err)
}
