package sqlite

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A page of a listing holds so many records, or less if they are large.
const (
	pageRecords = 128
	pageBytes   = 1 << 20
)

// List implements [state.Store]. It can filter by everything. Each page is read
// as it is when the one before it has been consumed.
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
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if err != nil {
				yield(state.Record{}, err)
				return
			}
			left -= len(page)
		}
	}
}

// listPage returns the next page, moves q.After behind it, and reports whether
// there may be another.
func (s *Store) listPage(ctx context.Context, q *state.Query, n int) (page []state.Record, more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, false, err
	}
	defer s.leave()
	now := s.clock.now()
	err = s.readers.read(ctx, func(c *conn) error {
		bytes := 0
		return c.list(q, now, func(r row) (bool, error) {
			found, err := scanHead(r, q.Namespace)
			if err != nil || !q.Match(&found.Record, now) {
				return true, err
			}
			found.Sealed = r.blob(sealedColumn)
			text := r.raw(dataColumn)
			bytes += len(text) + len(found.Sealed)
			if found.Data, err = decodeData(text); err != nil {
				return false, err
			}
			page = append(page, present(found.Record, now))
			q.After = found.Ref
			more = len(page) >= n || bytes >= pageBytes
			return !more, nil
		})
	})
	if err != nil {
		return page, false, s.readFailure(ctx, "list records", err)
	}
	return page, more, nil
}

// The conditions of a listing. What SQL does not select, state.Query.Match
// does.
const (
	listWhere = ` AND ref > ? AND (?3 = '' OR kind = ?3) AND (?3 <> '' OR substr(kind, 1, 1) <> '_')
		AND (?4 = '' OR owner = ?4) AND created_at >= ? AND created_at <= ?
		AND (expires_at <= ?7) = ?8`
	listAll    = "SELECT " + recordColumns + " FROM records INDEXED BY records_by_ref WHERE namespace = ?" + listWhere + " ORDER BY ref"
	listByUser = "SELECT " + recordColumns + " FROM records INDEXED BY records_by_user WHERE namespace = ?" + listWhere +
		" AND user = ? AND user <> '' ORDER BY ref"
)

// list gives the rows that may match to f, in the order of their refs.
func (c *conn) list(q *state.Query, now time.Time, f func(row) (bool, error)) error {
	after := ""
	if !q.After.IsZero() {
		after = q.After.String()
	}
	from, before := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.CreatedFrom.IsZero() {
		from = toMillis(q.CreatedFrom)
	}
	if !q.CreatedBefore.IsZero() {
		before = toMillis(q.CreatedBefore)
	}
	expired := int64(0)
	if q.Expired {
		expired = 1
	}
	sql := listAll
	byUser := q.User != nil && *q.User != ""
	if byUser {
		sql = listByUser
	}
	stmt := c.query(sql).text(q.Namespace).text(after).text(q.Kind).text(q.Owner).
		int64(from).int64(before).time(now).int64(expired)
	if byUser {
		stmt.user(*q.User)
	}
	return stmt.each(f)
}
