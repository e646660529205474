package sqlite

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	return s.writeOrRefuse(ctx, func(t *tx) (refusal, err error) {
		r, err := t.stamp(key)
		if err != nil {
			return nil, err
		}
		if r == nil || r.Expired(t.now) {
			return t.missingError(key, r)
		}
		return nil, t.trimEvents(r.id, keep)
	})
}

// trimEvents drops the record's oldest events. Events are numbered as they are
// appended, so those to drop are all up to one of them.
func (t *tx) trimEvents(record int64, keep state.EventBounds) error {
	last, err := t.lastToTrim(record, keep)
	if err != nil || last == 0 {
		return err
	}
	t.wrote = true
	err = t.query(`UPDATE streams SET first_kept = coalesce(
			(SELECT min(position) FROM events WHERE stream = streams.id AND id > ?), next)
		WHERE record = ?`).int64(last).int64(record).exec()
	if err != nil {
		return err
	}
	return t.query("DELETE FROM events WHERE stream IN (SELECT id FROM streams WHERE record = ?) AND id <= ?").
		int64(record).int64(last).exec()
}

// lastToTrim returns the id of the newest event that may not stay, or zero.
func (t *tx) lastToTrim(record int64, keep state.EventBounds) (int64, error) {
	var last, size int64
	err := t.query(`SELECT events.id, length(events.data), events.added_at
		FROM streams JOIN events ON events.stream = streams.id
		WHERE streams.record = ? ORDER BY events.id DESC`).int64(record).
		each(func(r row) (bool, error) {
			size += r.int64(1)
			old := keep.Age > 0 && r.int64(2) < toMillis(t.now.Add(-keep.Age))
			large := keep.Bytes > 0 && size > keep.Bytes
			if old || large {
				last = r.int64(0)
			}
			return last == 0, nil
		})
	return last, err
}
