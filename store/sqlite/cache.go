package sqlite

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
)

// A readCache answers repeated reads from memory, and never with anything older
// than what was committed, by whatever process, when the read began.
//
// On every Get it asks a witness whether anything was committed since the cache
// was last brought up to date. If so, it reads the changes since then from the
// database and drops the copies of the records that they name. The writer of
// this process does the same for its own commits from what it has at hand.
type readCache struct {
	store   *Store
	copies  *cache.Cache
	witness witness
	conn    *conn // guarded by mu

	// seen is the mark up to which the copies are right. Whoever finds the
	// witness at another mark must catch up first. Written under mu.
	seen atomic.Pointer[mark]

	mu  sync.Mutex // guards pos, and serializes catching up
	pos int64      // up to which changes were applied to the copies

	// Of the current transaction of the writer, which alone uses them.
	writeBegan      mark
	writeGeneration uint64
}

// maxCatchUp is how many changes are looked at one by one. Whoever is farther
// behind drops everything.
const maxCatchUp = 2048

func (s *Store) startCache(ctx context.Context) error {
	if s.opts.CacheBytes < 0 {
		return nil
	}
	copies, err := cache.New(cache.Options{MaxBytes: s.opts.CacheBytes})
	if err != nil {
		return err
	}
	s.cache = &readCache{store: s, copies: copies}
	c, err := s.connect(ctx, readerPragmas)
	if err != nil {
		return err
	}
	s.cache.conn = c
	s.cache.witness = s.newWitness(c)
	m := s.cache.witness.look(c)
	s.cache.seen.Store(&m)
	s.cache.pos, err = c.int64(selectPosition)
	return err
}

func (r *readCache) close() error {
	errs := []error{r.copies.Close()}
	if r.witness != nil {
		errs = append(errs, r.witness.close())
	}
	if r.conn != nil {
		errs = append(errs, r.conn.close())
	}
	return errors.Join(errs...)
}

// get returns a copy that was current at some moment since the call began.
func (r *readCache) get(ctx context.Context, key state.Key) (state.Record, bool) {
	if !r.current() {
		return state.Record{}, false
	}
	return r.peek(key)
}

// peek returns whatever copy there is.
func (r *readCache) peek(key state.Key) (state.Record, bool) {
	// The copies are in memory: no context is needed, and the only error is
	// that the cache was closed.
	copied, ok, err := r.copies.Get(context.Background(), key)
	return copied, ok && err == nil
}

// current brings the copies up to date with all that was committed when it was
// called, and reports whether it could.
func (r *readCache) current() bool {
	if m, ok := r.witness.glance(); ok && m == *r.seen.Load() {
		return true
	}
	return r.witness.shared(&r.mu, r.catchUp)
}

// catchUp applies the changes since pos. r.mu is held.
func (r *readCache) catchUp() bool {
	now := r.witness.look(r.conn)
	if now == *r.seen.Load() && now.valid() {
		return true
	}
	changes, err := r.conn.changesAfter(r.pos, maxCatchUp+1)
	if err != nil {
		return false // the read that follows has the same trouble, and says so
	}
	if len(changes) > maxCatchUp || len(changes) > 0 && changes[0].pos != r.pos+1 {
		if r.pos, err = r.conn.int64(selectPosition); err != nil {
			return false
		}
		r.clear()
	} else {
		for i := range changes {
			r.drop(&changes[i])
		}
		r.pos += int64(len(changes))
	}
	r.seen.Store(&now)
	return true
}

func (r *readCache) clear() {
	if err := r.copies.Clear(context.Background()); err != nil {
		r.store.opts.Logger.Error("cannot clear the read cache", "error", err)
	}
}

func (r *readCache) drop(ch *change) {
	revision := ch.Revision
	switch ch.typ {
	case changeOther, changeCreated: // no older copies exist
		return
	case changeDeleted, changeExpired:
		revision = state.Ended
	}
	if err := r.copies.Invalidate(context.Background(), ch.Key, revision); err != nil {
		r.store.opts.Logger.Error("cannot drop a copy from the read cache", "error", err)
	}
}

// generation must be taken before the database is read for a fill.
func (r *readCache) generation() uint64 {
	g, err := r.copies.Generation(context.Background())
	if err != nil {
		return 0 // closed: fills are refused
	}
	return g
}

func (r *readCache) fill(copied state.Record, generation uint64) {
	if err := r.copies.Fill(context.Background(), copied, generation); err != nil {
		r.store.opts.Logger.Error("cannot fill the read cache", "error", err)
	}
}

// beginWrite is called by the writer when it has the write lock.
func (r *readCache) beginWrite() {
	r.writeGeneration = r.generation()
	r.writeBegan, _ = r.witness.glance()
}

// committed is called by the writer when a transaction is durable, before its
// callers are told.
func (r *readCache) committed(x *tx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range x.changes {
		r.drop(&x.changes[i])
	}
	for i := range x.copies {
		r.fill(x.copies[i], r.writeGeneration)
	}
	// If everything before this transaction was known, and the witness has
	// moved by exactly this one, everything is known now.
	after, ok := r.witness.glance()
	if ok && r.pos == x.before && r.writeBegan == *r.seen.Load() && after.follows(r.writeBegan) {
		r.pos = x.position()
		r.seen.Store(&after)
	}
}
