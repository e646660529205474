package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A lookup is what one caller of Get wants, and what came of it.
type lookup struct {
	key   state.Key
	rec   state.Record
	found bool
	err   error
	next  *lookup // of the same key, in a group
}

// Get implements [state.Store]. What concurrent callers ask for is asked in
// one round trip.
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := s.enter(ctx); err != nil {
		return state.Record{}, err
	}
	defer s.leave()
	if err := state.CheckKey(key); err != nil {
		return state.Record{}, err
	}
	l := &lookup{key: key}
	switch err := s.gets.do(ctx, l, 1); {
	case errors.Is(err, errWithdrawn):
		return state.Record{}, late(ctx, "get a record")
	case err != nil:
		return state.Record{}, unavailable("get a record", context.Cause(ctx))
	}
	if l.err != nil {
		return state.Record{}, l.err
	}
	return l.rec, nil
}

// lookUp answers a group of callers.
func (s *Store) lookUp(ctx context.Context, group []*lookup) {
	err := s.retryRead(ctx, func() error { return s.readRecords(ctx, s.sql.get, group) })
	if err != nil {
		err = unavailable("get records", err)
		for _, l := range group {
			l.err = err
		}
		return
	}
	var missing, expired []*lookup
	for _, l := range group {
		switch {
		case l.err != nil:
		case !l.found:
			missing = append(missing, l)
		case l.rec.Remaining <= 0:
			expired = append(expired, l)
		}
	}
	s.confirm(ctx, expired)
	s.remember(ctx, missing)
}

// readRecords reads the records of a group by one statement for each
// namespace.
func (s *Store) readRecords(ctx context.Context, sql string, group []*lookup) error {
	if len(group) == 1 && sql == s.sql.get {
		return s.readOne(ctx, group[0])
	}
	spaces := make(map[string]map[string]*lookup, 1)
	for _, l := range group {
		l.found, l.err = false, nil
		byID := spaces[l.key.Namespace]
		if byID == nil {
			byID = make(map[string]*lookup, len(group))
			spaces[l.key.Namespace] = byID
		}
		id := l.key.Ref.String()
		l.next, byID[id] = byID[id], l
	}
	for namespace, byID := range spaces {
		ids := make([]string, 0, len(byID))
		for id := range byID {
			ids = append(ids, id)
		}
		args := &params{}
		args.text(namespace)
		args.texts(ids)
		err := s.query(ctx, sql, args, func(r *row) error {
			first := byID[string(r.values[1])]
			rec, _, err := r.record()
			for l := first; l != nil; l = l.next {
				l.rec, l.found, l.err = rec, true, err
				if l != first {
					l.rec = rec.Clone() // each caller owns what it gets
				}
			}
			r.err = nil // told to those whom it concerns
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readOne reads a single record, by a statement that the server need not plan
// each time.
func (s *Store) readOne(ctx context.Context, l *lookup) error {
	l.found, l.err = false, nil
	args := &params{}
	args.text(l.key.Namespace)
	args.text(l.key.Ref.String())
	return s.query(ctx, s.sql.getOne, args, func(r *row) error {
		l.found = true
		l.rec, _, l.err = r.record()
		r.err = nil
		return nil
	})
}

// confirm looks again at records that seem to have expired, and waits for those
// who are writing them: a touch that was in time may not be committed yet, and
// nobody may see a record expired that lives on.
func (s *Store) confirm(ctx context.Context, group []*lookup) {
	if len(group) == 0 {
		return
	}
	if err := s.readRecords(ctx, s.sql.getLocked, group); err != nil {
		err = unavailable("get records", err)
		for _, l := range group {
			l.err = err
		}
		return
	}
	var ended []*lookup
	for _, l := range group {
		switch {
		case l.err != nil:
		case !l.found:
			ended = append(ended, l) // swept or deleted meanwhile
		case l.rec.Remaining <= 0:
			end := expiry(&l.rec)
			l.err = &state.NotFoundError{End: &end}
		}
	}
	s.remember(ctx, ended)
}

// remember finds out how records ended that are not there.
func (s *Store) remember(ctx context.Context, group []*lookup) {
	if len(group) == 0 {
		return
	}
	ends := make(map[state.Key]*state.End, len(group))
	namespaces, ids := make([]string, len(group)), make([]string, len(group))
	for i, l := range group {
		namespaces[i], ids[i] = l.key.Namespace, l.key.Ref.String()
	}
	args := &params{}
	args.texts(namespaces)
	args.texts(ids)
	err := s.retryRead(ctx, func() error {
		return s.query(ctx, s.sql.ends, args, func(r *row) error {
			end, err := r.end()
			ends[end.Key] = &end
			return err
		})
	})
	for _, l := range group {
		if err != nil {
			l.err = unavailable("get the ends of records", err)
			continue
		}
		l.err = notFound(ends[l.key])
	}
}

// notFound returns the error with an End of its own.
func notFound(end *state.End) error {
	if end == nil {
		return &state.NotFoundError{}
	}
	own := *end
	return &state.NotFoundError{End: &own}
}

// retryRead reads again when a connection turns out to be broken, as all of
// them are after the server was restarted.
func (s *Store) retryRead(ctx context.Context, read func() error) error {
	for attempt := 0; ; attempt++ {
		err := read()
		if err == nil || ctx.Err() != nil || attempt == 2 || !broken(err) {
			return err
		}
		s.dropIdle()
	}
}

// dropIdle closes the connections that the pool holds, after one of them broke:
// the others most likely are broken too.
func (s *Store) dropIdle() {
	if s.ownPool {
		s.pool.Reset()
	}
}

// writeGrace is how long a group of writes goes on that nobody waits for.
const writeGrace = 2 * time.Second
