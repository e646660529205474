package memory

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A shard holds the records and tombstones of some refs.
type shard struct {
	mu      sync.RWMutex // guards all below and what entries say it guards
	records map[state.Key]*entry
	tombs   map[state.Key]*tomb
	_       [64]byte // keeps the locks of neighbours out of one cache line
}

// An entry is a record and its places in the indexes.
type entry struct {
	space *space
	table *table
	shard *shard
	index int // of shard

	// rec is guarded by shard.mu. Namespace, Kind, Ref and User are never
	// written again and may be read without it. The map Data is never
	// written again either, only replaced.
	rec    state.Record
	events *eventLog // guarded by shard.mu; nil: none
	cost   int64     // of rec, guarded by shard.mu
	gone   bool      // ended; guarded by shard.mu

	created int64 // in Unix milliseconds; never changes

	// Guarded by space.mu.
	due    int64 // Unix milliseconds; the record expires then or, after a touch, later
	inHeap int   // index in table.live; -1: noticed as expired
	inUser int   // index in the user's set; -1: in none
}

// A tomb is the tombstone of a record. It is seen until a sweep forgets it.
type tomb struct {
	end state.End
	due time.Time // from then on a sweep may forget it
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := ctx.Err(); err != nil {
		return state.Record{}, err
	}
	sh := s.shardOf(key.Ref)
	sh.mu.RLock()
	if s.closed.Load() {
		sh.mu.RUnlock()
		return state.Record{}, state.ErrClosed
	}
	now := s.clock.now()
	e := sh.records[key]
	if e == nil || e.rec.Expired(now) {
		err := sh.missing(key)
		sh.mu.RUnlock()
		return state.Record{}, err
	}
	r := e.rec
	sh.mu.RUnlock()
	finish(&r, now)
	return r, nil
}

// finish turns a copy of what is stored into what a caller gets.
func finish(r *state.Record, now time.Time) {
	r.Remaining = r.Expires().Sub(now)
	r.Secret = r.Secret.At(now)
	if r.Data == nil {
		r.Data = map[string]json.RawMessage{}
		return
	}
	r.Data = maps.Clone(r.Data)
}

// find returns the live record of the key, or the error for there being none.
// The shard must be locked.
func (sh *shard) find(key state.Key, now time.Time) (*entry, error) {
	if e := sh.records[key]; e != nil && !e.rec.Expired(now) {
		return e, nil
	}
	return nil, sh.missing(key)
}

// missing returns the error for a key without a live record.
func (sh *shard) missing(key state.Key) error {
	if err := state.CheckKey(key); err != nil {
		return err
	}
	if e := sh.records[key]; e != nil {
		end := e.expiry()
		return &state.NotFoundError{End: &end}
	}
	if t := sh.tombs[key]; t != nil {
		end := t.end
		return &state.NotFoundError{End: &end}
	}
	return &state.NotFoundError{}
}

// taken reports whether the key names a record, live or expired, or a
// tombstone.
func (sh *shard) taken(key state.Key) bool {
	return sh.records[key] != nil || sh.tombs[key] != nil
}

// expiry returns the End of a record that has expired.
func (e *entry) expiry() state.End {
	end := e.ended(e.rec.Expires())
	end.Reason = e.rec.Expiry()
	return end
}

// ended returns the End of the record but for its reason.
func (e *entry) ended(at time.Time) state.End {
	return state.End{
		Key:          e.rec.Key(),
		Kind:         e.rec.Kind,
		User:         e.rec.User,
		Version:      e.rec.Version,
		Created:      e.rec.Created,
		LastAccessed: e.rec.LastAccessed,
		At:           at,
	}
}

// change returns a report about the record as it is.
func (e *entry) change(t state.ChangeType) state.Change {
	return state.Change{
		Type:     t,
		Key:      e.rec.Key(),
		Kind:     e.rec.Kind,
		Version:  e.rec.Version,
		Revision: e.rec.Revision,
	}
}

// fence compares the epoch that an operation carries.
func (e *entry) fence(epoch uint64) error {
	if epoch == e.rec.Epoch {
		return nil
	}
	return &state.FencedError{Want: epoch, Have: e.rec.Epoch, Owner: e.rec.Owner}
}
