package postgres

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A page of a listing holds so many records, or fewer if they are large.
const (
	pageRecords = 256
	pageBytes   = 2 << 20
)

// List implements [state.Store]. It can filter by everything. Each page is read
// as it is when the one before it has been consumed, and no connection is held
// meanwhile.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		if err := state.CheckQuery(q); err != nil {
			yield(state.Record{}, err)
			return
		}
		q := q // each run starts anew
		left := q.Max
		if left <= 0 {
			left = math.MaxInt
		}
		for more := true; more && left > 0; {
			var page []state.Record
			var err error
			page, more, err = s.listPage(ctx, &q, min(left, pageRecords))
			if err != nil {
				yield(state.Record{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			left -= len(page)
		}
	}
}

// errEnough ends a page.
var errEnough = errors.New("enough for one page")

// listPage returns the next page, moves q.After behind it, and reports whether
// there may be another.
func (s *Store) listPage(ctx context.Context, q *state.Query, n int) (page []state.Record, more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, false, err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	where, args := conditions(q)
	sql := s.sql.list + where + " ORDER BY t.id LIMIT " + placeholder(len(args)+1)
	args.int8(int64(n))
	err = s.retryRead(ctx, func() error {
		page, more = nil, false
		bytes := 0
		return s.queryOnce(ctx, sql, args, func(r *row) error {
			rec, _, err := r.record()
			if err != nil {
				return err
			}
			page = append(page, rec)
			if bytes += state.Size(&rec); bytes >= pageBytes {
				more = true
				return errEnough
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, false, unavailable("list records", err)
	}
	if len(page) > 0 {
		q.After = page[len(page)-1].Ref
	}
	return page, more || len(page) == n, nil
}

// conditions returns what a query asks for as an SQL condition. It is put
// together from texts of this function alone; whatever was given is a
// parameter.
func conditions(q *state.Query) (string, params) {
	var c clauses
	c.add("t.namespace = ?", q.Namespace)
	if q.Expired {
		c.add("t.expires_at <= statement_timestamp()")
		c.add("least(t.idle_deadline, t.absolute_deadline) <= statement_timestamp()")
	} else {
		c.add("least(t.idle_deadline, t.absolute_deadline) > statement_timestamp()")
	}
	if !q.After.IsZero() {
		c.add("t.id > ?", q.After.String())
	}
	if q.Kind != "" {
		c.add("t.kind = ?", q.Kind)
	} else {
		c.add(`left(t.kind, 1) <> '_'`)
	}
	if q.User != nil {
		c.add("t.user_id = ?", EscapeUser(*q.User))
	}
	if q.Owner != "" {
		c.owner(q.Owner)
	}
	if p, ok := q.Address.Prefix(); ok {
		c.add("t.ip_address <<= ?::text::inet", p.String())
	}
	for _, b := range []struct {
		sql string
		at  time.Time
	}{
		{"t.created_at >= ?::timestamptz", q.CreatedFrom}, {"t.created_at < ?::timestamptz", q.CreatedBefore},
		{"t.last_accessed >= ?::timestamptz", q.AccessedFrom}, {"t.last_accessed < ?::timestamptz", q.AccessedBefore},
	} {
		if !b.at.IsZero() {
			c.time(b.sql, ceil(b.at))
		}
	}
	return strings.Join(c.sql, " AND "), c.args
}

// clauses are conditions that must all hold, and their parameters.
type clauses struct {
	sql  []string
	args params
}

// add adds a condition; the question mark in it stands for the argument.
func (c *clauses) add(sql string, arg ...string) {
	for _, a := range arg {
		c.args.text(a)
	}
	c.sql = append(c.sql, strings.Replace(sql, "?", placeholder(len(c.args)), 1))
}

func (c *clauses) time(sql string, t time.Time) {
	c.args.int8(t.UnixMicro() - zero)
	c.add(sql)
}

// owner adds the condition, unless no record can have such an owner: the
// server would refuse the parameter.
func (c *clauses) owner(owner string) {
	if strings.ToValidUTF8(owner, "") != owner || strings.IndexByte(owner, 0) >= 0 {
		c.add("false")
		return
	}
	c.add("t.owner = ?", owner)
}

// ceil raises a time to the next whole millisecond: against times that are cut
// to those, the comparison stays the same. It stays within the years that the
// server knows.
func ceil(t time.Time) time.Time {
	c := state.Cut(t)
	if c.Before(t) {
		c = c.Add(state.Precision)
	}
	switch y := c.Year(); {
	case y < -4000:
		return time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)
	case y > 200000:
		return time.Date(200000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return c
}
