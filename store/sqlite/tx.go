package sqlite

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A tx is a transaction of the writer: the operations of a group of callers.
// Its methods return an error only if the database failed, and then the whole
// transaction is rolled back; what an operation did not find or must not do
// stands in its result.
type tx struct {
	*conn
	store *Store
	// now is the store's time, read while the write lock is held: it is not
	// before that of any earlier transaction of this process.
	now time.Time

	wrote   bool
	before  int64 // position of the change before the first of this transaction
	changes []change
	copies  []state.Record // for the cache
	totals  map[kindKey]int64
}

type kindKey struct{ namespace, kind string }

func (t *tx) position() int64 { return t.before + int64(len(t.changes)) }

// note records a change of the record.
func (t *tx) note(typ changeType, r *stored, end state.End) error {
	ch := change{pos: t.position() + 1, typ: typ, Change: state.Change{
		Key: r.Key(), Kind: r.Kind, Version: r.Version, Revision: r.Revision,
		Reason: end.Reason, By: end.By,
	}}
	return t.noteChange(ch)
}

func (t *tx) noteChange(ch change) error {
	t.wrote = true
	t.changes = append(t.changes, ch)
	return t.insertChange(&ch)
}

// offer gives the cache a copy of the record as it will be once the
// transaction is committed.
func (t *tx) offer(r state.Record) {
	if t.store.cache != nil {
		t.copies = append(t.copies, r)
	}
}

// offerPatched is offer for a record whose data was not read: it takes the copy
// that the cache has, if that is the one from before this write.
func (t *tx) offerPatched(r *stored) {
	if t.store.cache == nil {
		return
	}
	copied, ok := t.store.cache.peek(r.Key())
	if !ok || copied.Revision != r.Revision-1 {
		return
	}
	copied.Stamp, copied.Owner = r.Stamp, r.Owner
	t.copies = append(t.copies, copied)
}

// count adds to the number of records of a kind.
func (t *tx) count(r *stored, n int64) {
	if t.totals == nil {
		t.totals = map[kindKey]int64{}
	}
	t.totals[kindKey{r.Namespace, r.Kind}] += n
}

// stored returns how many records of a kind there are, expired ones too.
func (t *tx) storedTotal(k kindKey) (int64, error) {
	var n int64
	_, err := t.query("SELECT stored FROM totals WHERE namespace = ? AND kind = ?").
		text(k.namespace).text(k.kind).
		one(func(r row) error { n = r.int64(0); return nil })
	return n + t.totals[k], err
}

// finish writes what is written once a transaction.
func (t *tx) finish() error {
	if !t.wrote {
		return nil
	}
	for k, n := range t.totals {
		err := t.query(`INSERT INTO totals (namespace, kind, stored) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET stored = stored + excluded.stored`).
			text(k.namespace).text(k.kind).int64(n).exec()
		if err != nil {
			return err
		}
	}
	return t.trim()
}

func (t *tx) trim() error {
	if t.before/trimEvery == t.position()/trimEvery {
		return nil
	}
	return t.query(trimChanges).int64(t.position() - keepChanges).exec()
}

// remove ends a record: the row, its events and its place in the total. The
// tombstone comes first: the schema takes a deletion without one for an
// operator's.
func (t *tx) remove(r *stored, typ changeType, end state.End) error {
	if err := t.insertEnd(&end); err != nil {
		return err
	}
	if err := t.query("DELETE FROM records WHERE id = ?").int64(r.id).exec(); err != nil {
		return err
	}
	if err := t.removeStreams(r.id); err != nil {
		return err
	}
	t.count(r, -1)
	return t.note(typ, r, end)
}

func (t *tx) insertEnd(e *state.End) error {
	return t.query(`INSERT OR REPLACE INTO ended (namespace, ref, ` + endColumns + `, forget_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		key(e.Key).text(e.Kind).user(e.User).uint64(e.Version).
		time(e.Created).time(e.LastAccessed).time(e.At).
		text(string(e.Reason)).text(e.By).bytes(e.Op[:]).
		time(e.At.Add(state.TombstoneTTL)).exec()
}
