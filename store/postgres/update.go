package postgres

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Most writes replace data and nothing else. They have a lane and statements of
// their own, which cost the server a fraction of coatcheck_apply_v1; where
// those change nothing, that finds out why.

// An update that waits for a lock beyond the deadline may still be done: it was
// begun before, and nobody sees the record any more.
const (
	updateSet = `SET version = CASE t.version WHEN 9223372036854775807 THEN -9223372036854775808 ELSE t.version + 1 END,
		revision = t.revision + 1`
	updateLive    = ` AND least(t.idle_deadline, t.absolute_deadline) > clock_timestamp()`
	updateReturns = `t.version, t.revision, t.epoch, t.created_at, t.last_accessed, t.idle_deadline, t.absolute_deadline, clock_timestamp()`
	updateLine    = `concat_ws(' ', 'u', t.namespace, t.id, t.kind, t.version, t.revision, E' \n')`

	updateOne = `UPDATE {s}.sessions t ` + updateSet + `, last_op = $9, data = $6::text::jsonb, opaque = $7, data_size = $8, sealed = $10
		WHERE t.namespace = $2 AND t.id = $3 AND t.version = $5 AND ($4::bigint = 0 OR t.epoch = $4)
			AND t.user_size + t.meta_size + $8 <= 262144` + updateLive + `
		RETURNING 1, ` + updateReturns + `, pg_notify($1, ` + updateLine + `)`

	// All rows are locked, in the order given, before any is changed. Data is
	// not unnested, since the server would copy it from node to node. A
	// notification has at most 32 lines, which fit into 8000 bytes.
	updateMany = `WITH l AS MATERIALIZED (
			SELECT FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS i (namespace, id, ord)
			JOIN {s}.sessions t ON t.namespace = i.namespace AND t.id = i.id
			ORDER BY i.ord FOR UPDATE OF t
		), u AS (
			UPDATE {s}.sessions t ` + updateSet + `, last_op = ($9::bytea[])[i.ord], data = ($6::text[])[i.ord]::jsonb,
				opaque = ($7::text[])[i.ord], sealed = ($10::bytea[])[i.ord], data_size = i.size
			FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $8::integer[])
				WITH ORDINALITY AS i (namespace, id, epoch, version, size, ord)
			WHERE (SELECT count(*) FROM l) >= 0
				AND t.namespace = i.namespace AND t.id = i.id AND t.version = i.version AND (i.epoch = 0 OR t.epoch = i.epoch)
				AND t.user_size + t.meta_size + i.size <= 262144` + updateLive + `
			RETURNING i.ord, ` + updateReturns + `, ` + updateLine + ` AS line
		), n AS MATERIALIZED (
			SELECT count(pg_notify($1, x.lines)) FROM (SELECT string_agg(u.line, '') AS lines FROM u GROUP BY u.ord / 32) AS x
		)
		SELECT u.* FROM u WHERE (SELECT count FROM n) >= 0`
)

// plain reports whether an operation replaces data and nothing else.
func (o *operation) plain() bool {
	return o.code == opUpdate && o.size.set && !o.rotate && o.meta == nil
}

// commitPlain does a group of writes that are all plain.
func (s *Store) commitPlain(ctx context.Context, group []*write) {
	left := gather(group)
	for len(left) > 0 {
		var round []*operation
		round, left = distinct(left)
		if err := s.updatePlain(ctx, round); err != nil && !alone(err) {
			fail(round, err)
			continue
		}
		s.finishPlain(ctx, round)
	}
}

// finishPlain does what updatePlain left undone.
func (s *Store) finishPlain(ctx context.Context, round []*operation) {
	var undone []*operation
	for _, o := range round {
		if !o.answered {
			undone = append(undone, o)
		}
	}
	if len(undone) > 0 {
		s.commitAll(ctx, undone)
	}
}

// distinct splits sorted operations into those that are the first of their key,
// and the others.
func distinct(ops []*operation) (first, others []*operation) {
	for i, o := range ops {
		if i > 0 && ops[i-1].key == o.key {
			others = append(others, o)
		} else {
			first = append(first, o)
		}
	}
	return first, others
}

// updatePlain does sorted plain operations, as far as their records are as they
// expect.
func (s *Store) updatePlain(ctx context.Context, ops []*operation) error {
	sql, args := s.sql.updateMany, s.plainArguments(ops)
	if len(ops) == 1 {
		sql, args = s.sql.updateOne, s.plainArgument(ops[0])
	}
	return s.write(ctx, ops, sql, args, func(r *row) error {
		n := r.int()
		if n < 1 || n > int64(len(ops)) {
			return corrupt("ord", errNoObject)
		}
		var stamp state.Stamp
		r.version(&stamp)
		r.times(&stamp)
		stamp.Remaining = stamp.Expires().Sub(r.time())
		ops[n-1].result.Stamp, ops[n-1].answered = stamp, true
		return nil
	})
}

func (s *Store) plainArgument(o *operation) params {
	p := make(params, 0, 10)
	p.text(s.channel)
	p.key(o.key)
	p.int8(o.epoch)
	p.int8(o.version)
	p = append(p, o.data, o.opaque)
	p.int4(int(o.size.value))
	return append(p, o.opID, o.sealed)
}

func (s *Store) plainArguments(ops []*operation) params {
	p := make(params, 0, 10)
	p.text(s.channel)
	p.texts(column(ops, always, func(o *operation) string { return o.key.Namespace }))
	p.texts(column(ops, always, func(o *operation) string { return o.id }))
	p.int8s(column(ops, always, func(o *operation) int64 { return o.epoch }))
	p.int8s(column(ops, always, func(o *operation) int64 { return o.version }))
	p.byteses(oidText, column(ops, always, func(o *operation) []byte { return o.data }))
	p.byteses(oidText, column(ops, hasOpaque, func(o *operation) []byte { return o.opaque }))
	p.optInt4s(column(ops, always, func(o *operation) opt[int32] { return o.size }))
	p.byteses(oidBytea, column(ops, hasOpID, func(o *operation) []byte { return o.opID }))
	p.byteses(oidBytea, column(ops, isSealed, func(o *operation) []byte { return o.sealed }))
	return p
}
