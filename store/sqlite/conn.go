package sqlite

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A conn is one connection with its prepared statements. It belongs to one
// goroutine at a time.
type conn struct {
	db    *sqlite3.Conn
	stmts map[string]*query // by their SQL, which is always a constant
}

func newConn(db *sqlite3.Conn) *conn {
	return &conn{db: db, stmts: map[string]*query{}}
}

func (c *conn) close() error {
	for _, q := range c.stmts {
		q.stmt.Close() // its error repeats that of the last step
	}
	clear(c.stmts)
	return c.db.Close()
}

// interruptWith makes ctx end what the connection is doing, until the function
// it returns is called.
func (c *conn) interruptWith(ctx context.Context) func() {
	old := c.db.SetInterrupt(ctx)
	return func() { c.db.SetInterrupt(old) }
}

// query returns the statement for sql, ready to be bound. Errors are kept and
// returned by what runs it.
func (c *conn) query(sql string) *query {
	if q, ok := c.stmts[sql]; ok {
		q.next, q.err = 0, nil
		return q
	}
	stmt, _, err := c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return &query{err: err}
	}
	q := &query{stmt: stmt}
	c.stmts[sql] = q
	return q
}

// int64 runs a query that returns one number, and returns zero for none or
// NULL.
func (c *conn) int64(sql string) (int64, error) {
	var n int64
	_, err := c.query(sql).one(func(r row) error { n = r.int64(0); return nil })
	return n, err
}

// A query is a prepared statement while its parameters are bound, in order, and
// it is run. Only the first error counts.
type query struct {
	stmt *sqlite3.Stmt
	next int
	err  error
}

func (q *query) bind(f func(i int) error) *query {
	if q.err != nil {
		return q
	}
	q.next++
	q.err = f(q.next)
	return q
}

func (q *query) int64(v int64) *query {
	return q.bind(func(i int) error { return q.stmt.BindInt64(i, v) })
}

func (q *query) text(v string) *query {
	return q.bind(func(i int) error { return q.stmt.BindText(i, v) })
}

func (q *query) raw(v []byte) *query {
	return q.bind(func(i int) error { return q.stmt.BindRawText(i, v) })
}

// blob binds bytes; nil is an empty blob.
func (q *query) blob(v []byte) *query {
	if v == nil {
		v = []byte{}
	}
	return q.bind(func(i int) error { return q.stmt.BindBlob(i, v) })
}

func (q *query) null() *query {
	return q.bind(func(i int) error { return q.stmt.BindNull(i) })
}

// sealed binds bytes; none are NULL.
func (q *query) sealed(b []byte) *query {
	if len(b) == 0 {
		return q.null()
	}
	return q.blob(b)
}

// exec runs a statement that returns nothing.
func (q *query) exec() error {
	if q.err != nil {
		return q.abandon()
	}
	return q.stmt.Exec()
}

// one gives the first row to f and reports whether there was one.
func (q *query) one(f func(row) error) (bool, error) {
	found := false
	err := q.each(func(r row) (bool, error) {
		found = true
		return false, f(r)
	})
	return found, err
}

// each gives the rows to f, until it says no or fails.
func (q *query) each(f func(row) (more bool, err error)) error {
	if q.err != nil {
		return q.abandon()
	}
	for q.stmt.Step() {
		more, err := f(row{q.stmt})
		if err != nil {
			q.stmt.Reset() // the error of f counts
			return err
		}
		if !more {
			return q.stmt.Reset()
		}
	}
	err := q.stmt.Err()
	if resetErr := q.stmt.Reset(); err == nil {
		err = resetErr
	}
	return err
}

func (q *query) abandon() error {
	if q.stmt != nil {
		q.stmt.Reset() // the error of binding counts
	}
	return fmt.Errorf("bind or prepare statement: %w", q.err)
}

// A row is the row that a query stands on.
type row struct{ stmt *sqlite3.Stmt }

func (r row) int64(i int) int64   { return r.stmt.ColumnInt64(i) }
func (r row) uint64(i int) uint64 { return uint64(r.stmt.ColumnInt64(i)) }
func (r row) text(i int) string   { return r.stmt.ColumnText(i) }
func (r row) isNull(i int) bool   { return r.stmt.ColumnType(i) == sqlite3.NULL }

// blob returns a copy; nil for NULL.
func (r row) blob(i int) []byte {
	if r.isNull(i) {
		return nil
	}
	return r.stmt.ColumnBlob(i, []byte{})
}

// raw returns bytes that are valid until the next call.
func (r row) raw(i int) []byte { return r.stmt.ColumnRawBlob(i) }
