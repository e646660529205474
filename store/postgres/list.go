package postgres

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"
	"time"
	"unicode/utf8"

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
	sql := s.sql.list + where + " ORDER BY t.id LIMIT " + placeholder(len(args.values)+1)
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
			if bytes += state.Size(&rec) + len(rec.Sealed); bytes >= pageBytes {
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

// A condition is a condition in SQL; the question mark in it stands for arg, a
// string or a time, unless that is nil.
type condition struct {
	sql string
	arg any
}

// conditionsOf returns what a query asks for. It is put together from texts of
// this function alone; whatever was given is an argument.
func conditionsOf(q *state.Query) []condition {
	list := []condition{{"t.namespace = ?", q.Namespace}}
	add := func(wanted bool, sql string, arg any) {
		if wanted {
			list = append(list, condition{sql, arg})
		}
	}
	add(q.Expired, "t.expires_at <= statement_timestamp()", nil)
	add(q.Expired, "least(t.idle_deadline, t.absolute_deadline) <= statement_timestamp()", nil)
	add(!q.Expired, "least(t.idle_deadline, t.absolute_deadline) > statement_timestamp()", nil)
	add(!q.After.IsZero(), "t.id > ?", q.After.String())
	add(q.Kind != "", "t.kind = ?", q.Kind)
	add(q.Kind == "", "left(t.kind, 1) <> '_'", nil)
	if q.User != nil {
		add(true, "t.user_id = ?", EscapeUser(*q.User))
	}
	// An owner that no record can have, the server would refuse.
	possible := utf8.ValidString(q.Owner) && strings.IndexByte(q.Owner, 0) < 0
	add(q.Owner != "" && possible, "t.owner = ?", q.Owner)
	add(!possible, "false", nil)
	if p, ok := q.Address.Prefix(); ok {
		add(true, "t.ip_address <<= ?::text::inet", p.String())
	}
	add(!q.CreatedFrom.IsZero(), "t.created_at >= ?::timestamptz", ceil(q.CreatedFrom))
	add(!q.CreatedBefore.IsZero(), "t.created_at < ?::timestamptz", ceil(q.CreatedBefore))
	add(!q.AccessedFrom.IsZero(), "t.last_accessed >= ?::timestamptz", ceil(q.AccessedFrom))
	add(!q.AccessedBefore.IsZero(), "t.last_accessed < ?::timestamptz", ceil(q.AccessedBefore))
	return list
}

// conditions returns the same as one condition with its parameters.
func conditions(q *state.Query) (string, *params) {
	var sql []string
	p := &params{}
	for _, c := range conditionsOf(q) {
		switch arg := c.arg.(type) {
		case string:
			p.text(arg)
		case time.Time:
			p.int8(arg.UnixMicro() - zero)
		}
		sql = append(sql, strings.Replace(c.sql, "?", placeholder(len(p.values)), 1))
	}
	return strings.Join(sql, " AND "), p
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
