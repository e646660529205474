package postgres

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Most writes replace data and nothing else. They have a lane of their own, a
// statement for one alone and coatcheck_update_v1 for several, which cost the
// server a fraction of coatcheck_apply_v1; where those change nothing, that
// finds out why.

// An update that waits for a lock beyond the deadline may still be done: it was
// begun before, and nobody sees the record any more.
const (
	updateOne = `UPDATE {s}.sessions t
		SET version = CASE t.version WHEN 9223372036854775807 THEN -9223372036854775808 ELSE t.version + 1 END,
			revision = t.revision + 1, last_op = $9, data = $6::text::jsonb, opaque = $7, data_size = $8, sealed = $10
		WHERE t.namespace = $2 AND t.id = $3 AND t.version = $5 AND ($4::bigint = 0 OR t.epoch = $4)
			AND t.user_size + t.meta_size + $8 <= 262144
			AND least(t.idle_deadline, t.absolute_deadline) > clock_timestamp()
		RETURNING 1, t.version, t.revision, t.epoch,
			t.created_at, t.last_accessed, t.idle_deadline, t.absolute_deadline, clock_timestamp(),
			pg_notify($1, concat_ws(' ', 'u', t.namespace, t.id, t.kind, t.version, t.revision, E' \n'))`

	updateMany = `SELECT * FROM {s}.coatcheck_update_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
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
	args := s.params.get()
	defer s.params.put(args)
	sql := s.sql.updateOne
	if len(ops) == 1 {
		s.plainArgument(args, ops[0])
	} else {
		sql = s.sql.updateMany
		s.plainArguments(args, ops)
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

func (s *Store) plainArgument(p *params, o *operation) {
	p.text(s.channel)
	p.key(o.key)
	p.int8(o.epoch)
	p.int8(o.version)
	p.object(o.data)
	p.object(o.opaque)
	p.int4(int(o.size.value))
	p.optBytes(o.opID)
	p.optBytes(o.sealed)
}

func (s *Store) plainArguments(p *params, ops []*operation) {
	p.text(s.channel)
	p.texts(column(ops, always, func(o *operation) string { return o.key.Namespace }))
	p.texts(column(ops, always, func(o *operation) string { return o.id }))
	p.int8s(column(ops, always, func(o *operation) int64 { return o.epoch }))
	p.int8s(column(ops, always, func(o *operation) int64 { return o.version }))
	p.objects(column(ops, always, func(o *operation) object { return o.data }))
	p.objects(column(ops, hasOpaque, func(o *operation) object { return o.opaque }))
	p.optInt4s(column(ops, always, func(o *operation) opt[int32] { return o.size }))
	p.byteses(column(ops, hasOpID, func(o *operation) []byte { return o.opID }))
	p.byteses(column(ops, isSealed, func(o *operation) []byte { return o.sealed }))
}
