package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return state.Record{}, err
	}
	defer s.leave()
	if s.cache == nil {
		return s.load(ctx, key)
	}
	r, ok := s.cache.get(ctx, key)
	now := s.clock.now()
	// A copy that seems to have expired is not proof: the end that is
	// reported must be the one that is stored.
	hit := ok && !r.Expired(now)
	if s.opts.OnLookup != nil {
		s.opts.OnLookup(hit)
	}
	if hit {
		return present(r, now), nil
	}
	return s.loadAndFill(ctx, key)
}

// present sets what depends on the time of reading.
func present(r state.Record, now time.Time) state.Record {
	r.Secret = r.Secret.At(now)
	r.Remaining = r.Expires().Sub(now)
	return r
}

// loadAndFill reads from the database and offers what it found to the cache.
func (s *Store) loadAndFill(ctx context.Context, key state.Key) (state.Record, error) {
	generation := s.cache.generation()
	var raw state.Record
	r, err := s.loadInto(ctx, key, &raw)
	if err == nil {
		s.cache.fill(raw, generation)
	}
	return r, err
}

func (s *Store) load(ctx context.Context, key state.Key) (state.Record, error) {
	var raw state.Record
	return s.loadInto(ctx, key, &raw)
}

// loadInto reads the record into raw as it is stored, and returns it as it is
// presented now.
func (s *Store) loadInto(ctx context.Context, key state.Key, raw *state.Record) (state.Record, error) {
	var now time.Time
	var found *stored
	read := func(c *conn) error {
		var err error
		found, err = c.record(key)
		now = s.clock.now()
		if err != nil {
			return err
		}
		if found == nil || found.Expired(now) {
			return c.notFound(key, found)
		}
		*raw = found.Record
		return nil
	}
	err := s.readers.read(ctx, read)
	if found != nil && found.Expired(now) && now.Sub(found.Expires()) < longestWrite {
		err = s.readAfterWrites(ctx, read)
	}
	if err != nil {
		return state.Record{}, s.getFailure(ctx, err)
	}
	return present(*raw, now), nil
}

// longestWrite bounds how long a transaction may be on its way.
const longestWrite = time.Minute

// readAfterWrites runs f when all writes that were on their way have arrived. A
// record that has just expired may have been touched in time by one of them:
// who is told now that it is gone must not find it again.
func (s *Store) readAfterWrites(ctx context.Context, f func(*conn) error) error {
	var result error
	job := newJob(func(t *tx) error {
		result = f(t.conn)
		return nil // it wrote nothing, so nothing has to be rolled back
	})
	if err := s.writer.submit(ctx, job); err != nil {
		return context.Cause(ctx) // nothing else makes submit give up, and a read has no unknown outcome
	}
	if job.err != nil {
		return job.err
	}
	return result
}

func (s *Store) getFailure(ctx context.Context, err error) error {
	if errors.Is(err, state.ErrNotFound) || errors.Is(err, state.ErrUnavailable) || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return s.readFailure(ctx, "get record", err)
}

const (
	selectRecord = "SELECT " + recordColumns + " FROM records WHERE namespace = ? AND ref = ?"
	selectHead   = "SELECT " + headColumns + " FROM records WHERE namespace = ? AND ref = ?"
	selectStamp  = "SELECT " + stampColumns + " FROM records WHERE namespace = ? AND ref = ?"
	selectEnd    = "SELECT " + endColumns + " FROM ended WHERE namespace = ? AND ref = ?"
)

// record returns what is stored under key, live or expired; nil if nothing is.
func (c *conn) record(key state.Key) (*stored, error) {
	return c.selectOne(selectRecord, key, scanRecord)
}

// head is record without the data.
func (c *conn) head(key state.Key) (*stored, error) {
	return c.selectOne(selectHead, key, scanHead)
}

// stamp is record with the stamp, kind and user alone.
func (c *conn) stamp(key state.Key) (*stored, error) {
	return c.selectOne(selectStamp, key, func(r row, namespace string) (stored, error) {
		s := scanStamp(r, namespace)
		s.Ref = key.Ref
		return s, nil
	})
}

func (c *conn) selectOne(sql string, key state.Key, scan func(row, string) (stored, error)) (*stored, error) {
	var found *stored
	_, err := c.query(sql).key(key).one(func(r row) error {
		s, err := scan(r, key.Namespace)
		found = &s
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
