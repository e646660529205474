package memory

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func (s *Store) create(op *state.CreateOp) state.Result {
	given := &op.Record
	sp := s.space(given.Namespace)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	now := s.clock.now()
	// Nothing is inserted into the namespace without its lock, so that what
	// is free now stays free.
	if s.taken(given.Key()) {
		return state.Result{Err: state.ErrExists}
	}
	t := sp.table(given.Kind)
	victims, err := t.makeRoom(op.Limit, given.User, now.UnixMilli())
	if err != nil {
		return state.Result{Err: err}
	}
	stamp := op.Stamp(now)
	e := s.newEntry(sp, t, state.Record{
		Namespace: given.Namespace,
		Kind:      given.Kind,
		Ref:       given.Ref,
		User:      given.User,
		Stamp:     stamp,
		Secret:    state.Secret{Hash: given.Secret.Hash},
		Meta:      given.Meta,
		Data:      cloneData(given.Data),
		Sealed:    given.Sealed,
		LastOp:    op.ID,
	})
	ends, err := s.replace(e, victims, now, op)
	if err != nil {
		return state.Result{Err: err}
	}
	return state.Result{Stamp: stamp, Ended: ends}
}

// replace ends the victims and inserts e, with the shards of all of them
// locked, so that no reader sees anything in between.
func (s *Store) replace(e *entry, victims []*entry, now time.Time, op *state.CreateOp) ([]state.End, error) {
	shards := uint64(1) << e.index
	for _, v := range victims {
		shards |= 1 << v.index
	}
	s.lockAll(shards)
	defer s.unlockAll(shards)

	ends := make([]state.End, 0, len(victims))
	freed := int64(0)
	for _, v := range victims {
		end := v.ended(state.Cut(now))
		end.Reason, end.By, end.Op = state.ReasonEvicted, op.By, op.ID
		ends = append(ends, end)
		freed += v.total() - tombCost(&end)
	}
	// All or nothing: what is evicted makes the room, unless it is too little.
	if err := s.room.reserve(1-int64(len(victims)), e.cost-freed); err != nil {
		return nil, err
	}
	for i, v := range victims {
		s.bury(v, ends[i], now, state.Deleted)
	}
	s.insert(e)
	if len(ends) == 0 {
		return nil, nil
	}
	return ends, nil
}

func (s *Store) importRecord(op *state.ImportOp) state.Result {
	r := op.Record
	sp := s.space(r.Namespace)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	now := s.clock.now()
	trim(&r)
	if r.Expired(now) {
		return state.Result{Err: &state.NotFoundError{}}
	}
	if s.taken(r.Key()) {
		return state.Result{Err: state.ErrExists}
	}
	r.Secret = r.Secret.At(now)
	e := s.newEntry(sp, sp.table(r.Kind), r)
	e.shard.mu.Lock()
	defer e.shard.mu.Unlock()
	if err := s.room.reserve(1, e.cost); err != nil {
		return state.Result{Err: err}
	}
	s.insert(e)
	stamp := e.rec.Stamp
	stamp.Remaining = stamp.Expires().Sub(now)
	return state.Result{Stamp: stamp}
}

// trim makes of an imported record one as this store keeps them: live nowhere,
// with times at the precision of all stores.
func trim(r *state.Record) {
	r.Revision, r.Epoch, r.Owner = 1, 0, ""
	r.Created, r.LastAccessed = state.Cut(r.Created), state.Cut(r.LastAccessed)
	r.IdleDeadline, r.AbsoluteDeadline = state.Cut(r.IdleDeadline), state.Cut(r.AbsoluteDeadline)
	if !r.Secret.PreviousUntil.IsZero() {
		r.Secret.PreviousUntil = state.Cut(r.Secret.PreviousUntil)
	}
	r.Data = cloneData(r.Data)
}

func (s *Store) taken(key state.Key) bool {
	sh := s.shardOf(key.Ref)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.taken(key)
}

func (s *Store) newEntry(sp *space, t *table, r state.Record) *entry {
	index := s.shardIndex(r.Ref)
	return &entry{
		space:   sp,
		table:   t,
		shard:   &s.shards[index],
		index:   index,
		rec:     r,
		cost:    recordCost(&r),
		created: r.Created.UnixMilli(),
		due:     r.Expires().UnixMilli(),
	}
}

// insert makes the entry visible. The space and the shard are locked, and the
// room is taken.
func (s *Store) insert(e *entry) {
	e.shard.records[e.rec.Key()] = e
	e.space.insert(e)
	e.space.publish(e.change(state.Created))
}
