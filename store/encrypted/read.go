package encrypted

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	asked := time.Now()
	r, err := s.inner.Get(ctx, key)
	if err != nil {
		return state.Record{}, s.withUser(err)
	}
	if err := s.open(ctx, &r, asked); err != nil {
		return state.Record{}, err
	}
	return r, nil
}

// withUser gives the End in an error of the inner store its user.
func (s *Store) withUser(err error) error {
	var nf *state.NotFoundError
	if !errors.As(err, &nf) || nf.End == nil {
		return err
	}
	end := s.end(*nf.End)
	return &state.NotFoundError{End: &end}
}

// end gives an End its user, if the token has it.
func (s *Store) end(e state.End) state.End {
	user, ok := s.users.user(e.Key.Namespace, e.User)
	if !ok && s.opts.AcceptPlain && !hashed(e.User) {
		user = e.User
	}
	e.User = user
	return e
}

func (s *Store) ends(ends []state.End) []state.End {
	for i := range ends {
		ends[i] = s.end(ends[i])
		s.seen.saw(ends[i].Key, ended)
	}
	return ends
}

// Sweep implements [state.Store].
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	ends, err := s.inner.Sweep(ctx, opts)
	return s.ends(ends), err
}

// List implements [state.Store]. Records that cannot be opened are left out,
// and an error that says so comes last.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		records, err := s.listInner(ctx, q)
		if err != nil {
			yield(state.Record{}, err)
			return
		}
		if err := s.list(ctx, records, yield); err != nil {
			yield(state.Record{}, err)
		}
	}
}

// list yields what can be opened, and returns the error to be yielded last; nil
// if nobody wants it.
func (s *Store) list(ctx context.Context, records iter.Seq2[state.Record, error], yield func(state.Record, error) bool) error {
	asked := time.Now()
	var first error
	refused := 0
	for r, err := range records {
		if err != nil {
			return errors.Join(s.withUser(err), missing(refused, first))
		}
		if err := s.open(ctx, &r, asked); err != nil {
			if refused++; first == nil {
				first = err
			}
			continue
		}
		if !yield(r, nil) {
			return nil
		}
	}
	return missing(refused, first)
}

func missing(n int, first error) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("list records: %d could not be opened, of which the first: %w", n, first)
}

// listInner asks the inner store for what a query selects.
func (s *Store) listInner(ctx context.Context, q state.Query) (iter.Seq2[state.Record, error], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := state.CheckQuery(q); err != nil {
		return nil, err
	}
	if _, filtered := q.Address.Prefix(); filtered {
		return nil, &state.UnsupportedError{Field: "address"}
	}
	if q.User == nil || *q.User == "" {
		return s.inner.List(ctx, q), nil
	}
	plain := q
	token := s.users.token(q.Namespace, *q.User)
	q.User = &token
	if !s.opts.AcceptPlain {
		return s.inner.List(ctx, q), nil
	}
	return merge(s.inner.List(ctx, q), s.inner.List(ctx, plain), q.Max), nil
}

// merge yields the records of two lists in the order of their refs, at most so
// many if limit is not zero.
func merge(a, b iter.Seq2[state.Record, error], limit int) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		other, err, more := next()
		n := 0
		give := func(r state.Record, err error) bool {
			n++
			return yield(r, err) && err == nil && n != limit
		}
		for r, errA := range a {
			for more && (err != nil || errA == nil && other.Ref.Compare(r.Ref) < 0) {
				if !give(other, err) {
					return
				}
				other, err, more = next()
			}
			if !give(r, errA) {
				return
			}
		}
		for more && give(other, err) {
			other, err, more = next()
		}
	}
}
