package sqlite

import "github.com/coatcheck-mcp/coatcheck/state"

// changeType is what the column type of the table changes holds. The numbers
// are stored.
type changeType int64

const (
	changeOther   changeType = 0 // of no record
	changeCreated changeType = 1
	changeUpdated changeType = 2
	changeTouched changeType = 3
	changeDeleted changeType = 4
	changeExpired changeType = 5
)

// keepChanges is how many changes the table keeps. A watch that falls farther
// behind has a gap.
const (
	keepChanges = 16384
	trimEvery   = 512
)

// A change is a row of the table changes.
type change struct {
	pos int64
	typ changeType
	state.Change
}

// report returns what a watch says of the change, and false for nothing.
func (c *change) report() (state.Change, bool) {
	r := c.Change
	switch c.typ {
	case changeCreated:
		r.Type = state.Created
	case changeUpdated:
		r.Type = state.Updated
	case changeDeleted:
		r.Type = state.Deleted
	case changeExpired:
		r.Type = state.Expired
	default:
		return state.Change{}, false
	}
	return r, true
}

const (
	selectPosition = "SELECT max(pos) FROM changes"
	selectChanges  = `SELECT pos, type, namespace, ref, kind, version, revision, reason, by
		FROM changes WHERE pos > ? ORDER BY pos LIMIT ?`
	insertChange = `INSERT INTO changes (pos, type, namespace, ref, kind, version, revision, reason, by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	trimChanges = "DELETE FROM changes WHERE pos <= ?"
)

// changesAfter returns at most limit changes behind the position.
func (c *conn) changesAfter(pos int64, limit int) ([]change, error) {
	var list []change
	err := c.query(selectChanges).int64(pos).int64(int64(limit)).each(func(r row) (bool, error) {
		ch := change{pos: r.int64(0), typ: changeType(r.int64(1))}
		if ch.typ != changeOther {
			ref, err := state.ParseRef(r.text(3))
			if err != nil {
				return false, corrupt("ref of changes", err)
			}
			ch.Key = state.Key{Namespace: r.text(2), Ref: ref}
			ch.Kind, ch.Version, ch.Revision = r.text(4), r.uint64(5), r.uint64(6)
			ch.Reason, ch.By = state.Reason(r.text(7)), r.text(8)
		}
		list = append(list, ch)
		return true, nil
	})
	return list, err
}

func (c *conn) insertChange(ch *change) error {
	q := c.query(insertChange).int64(ch.pos).int64(int64(ch.typ)).text(ch.Key.Namespace)
	if ch.typ == changeOther {
		q.text("")
	} else {
		q.text(ch.Key.Ref.String())
	}
	return q.text(ch.Kind).uint64(ch.Version).uint64(ch.Revision).text(string(ch.Reason)).text(ch.By).exec()
}
