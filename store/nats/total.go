package nats

import (
	"context"
	"math"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// moreThan reports whether there are more than n live records of a kind. Mostly
// the leaders can tell that there are not by what they have in all, or under the
// names of records; else all records are read.
func (s *Store) moreThan(ctx context.Context, namespace, kind string, n int) (bool, error) {
	for _, atMost := range []func(context.Context, int) (int, error){
		s.countSubjects,
		func(ctx context.Context, stream int) (int, error) { return s.countNames(ctx, stream, namespace) },
	} {
		sum, err := s.sum(ctx, atMost)
		if err != nil || sum <= n {
			return false, err
		}
	}
	have, err := s.totals.count(ctx, s, kindOf{namespace, kind})
	return have > n, err
}

// sum asks for a number of each stream and adds them up.
func (s *Store) sum(ctx context.Context, of func(ctx context.Context, stream int) (int, error)) (int, error) {
	numbers, errs := make([]int, s.opts.Streams), make([]error, s.opts.Streams)
	var wg sync.WaitGroup
	for i := range numbers {
		wg.Go(func() { numbers[i], errs[i] = of(ctx, i) })
	}
	wg.Wait()
	sum := 0
	for i, n := range numbers {
		if errs[i] != nil {
			return 0, errs[i]
		}
		sum += n
	}
	return sum, nil
}

// countSubjects returns how many subjects a stream has, which costs it nothing.
func (s *Store) countSubjects(ctx context.Context, stream int) (int, error) {
	info, err := s.info(ctx, stream, "", 0)
	if err != nil {
		return 0, err
	}
	return int(info.State.NumSubjects), nil
}

// countNames returns how many records and tombstones of a namespace a stream has.
// It does not ask for their names.
func (s *Store) countNames(ctx context.Context, stream int, namespace string) (int, error) {
	info, err := s.info(ctx, stream, s.recordSubjects(stream, namespace), math.MaxInt32)
	if err != nil {
		return 0, err
	}
	return info.Total, nil
}

// totals are counts of live records. Callers share them: where a limit is reached
// each Create needs one.
type totals struct {
	mu sync.Mutex // guards by
	by map[kindOf]*total
}

type kindOf struct{ namespace, kind string }

type total struct {
	shared[int]
	users int // callers; guarded by totals.mu
}

// count returns how many live records of a kind there are, after the call began.
// It reads all of the namespace.
func (t *totals) count(ctx context.Context, s *Store, k kindOf) (int, error) {
	t.mu.Lock()
	c := t.by[k]
	if c == nil {
		if t.by == nil {
			t.by = make(map[kindOf]*total)
		}
		c = &total{}
		t.by[k] = c
	}
	c.users++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(t.by, k)
		}
	}()
	return c.get(ctx, s, func(ctx context.Context) (int, error) { return s.count(ctx, k) })
}

// count reads all records of a namespace and counts those of a kind that live.
func (s *Store) count(ctx context.Context, k kindOf) (n int, err error) {
	now := s.clock.now()
	for sl, err := range s.scan(ctx, k.namespace, state.Ref{}, s.refs, entered, func() {}) {
		if err != nil {
			return 0, err
		}
		if sl.live(now) && sl.rec.Kind == k.kind {
			n++
		}
	}
	return n, nil
}
