package memory

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func (s *Store) delete(op *state.DeleteOp) state.Result {
	sp := s.findSpace(op.Key.Namespace)
	if sp == nil {
		return state.Result{}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sh := s.shardOf(op.Key.Ref)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.clock.now()
	e := sh.records[op.Key]
	if e == nil || e.rec.Expired(now) {
		return state.Result{}
	}
	if op.Epoch != 0 {
		if err := e.fence(op.Epoch); err != nil {
			return state.Result{Err: err}
		}
	}
	end := e.ended(state.Cut(now))
	end.Reason, end.By, end.Op = op.Reason, op.By, op.ID
	s.room.release(1, e.total()-tombCost(&end))
	s.bury(e, end, now, state.Deleted)
	return state.Result{Ended: []state.End{end}}
}

// total is the room that the record takes with its events.
func (e *entry) total() int64 {
	if e.events == nil {
		return e.cost
	}
	return e.cost + e.events.cost
}

// bury ends a record, leaves its tombstone and reports it. The space and the
// shard are locked; the room has been accounted for.
func (s *Store) bury(e *entry, end state.End, now time.Time, report state.ChangeType) {
	key := end.Key
	delete(e.shard.records, key)
	e.space.remove(e)
	e.gone, e.events = true, nil
	t := &tomb{end: end, due: now.Add(state.TombstoneTTL)}
	e.shard.tombs[key] = t
	e.table.tombs.push(t)

	c := e.change(report)
	c.Revision++
	c.Reason, c.By = end.Reason, end.By
	e.space.publish(c)
}

// forget removes at most n tombstones that are due and returns how many. The
// space is locked, but none of the shards.
func (s *Store) forget(t *table, n int, now time.Time) (forgotten int) {
	for ; forgotten < n && t.tombs.len() > 0 && !t.tombs.peek().due.After(now); forgotten++ {
		old := t.tombs.pop()
		s.room.release(0, tombCost(&old.end))
		sh := s.shardOf(old.end.Key.Ref)
		sh.mu.Lock()
		delete(sh.tombs, old.end.Key)
		sh.mu.Unlock()
	}
	return forgotten
}
