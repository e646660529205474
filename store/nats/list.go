package nats

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// readAtOnce is how many records a List asks for at once.
const readAtOnce = 32

// List implements [state.Store]. It asks the leader of each stream which refs
// there are, or which the user has, and for each record.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		if err := state.CheckQuery(q); err != nil {
			yield(state.Record{}, err)
			return
		}
		n := 0
		refs := s.refs
		if q.User != nil && *q.User != "" {
			refs = s.refsOf(*q.User)
		}
		for sl, err := range s.scan(ctx, q.Namespace, q.After, refs, s.enter, s.leave) {
			if err != nil {
				yield(state.Record{}, err)
				return
			}
			now := s.clock.now()
			if sl.rec == nil || !q.Match(sl.rec, now) {
				continue
			}
			if !yield(shown(sl.rec, now), nil) {
				return
			}
			if n++; n == q.Max {
				return
			}
		}
	}
}

// A refsFunc returns refs of a stream that are in a namespace and behind a ref,
// in order.
type refsFunc func(ctx context.Context, stream int, namespace string, after state.Ref) ([]state.Ref, error)

// scan yields what stands in the place of each record of a namespace that refsOf
// names, in the order of refs. It enters with each page, so that between two records nothing
// is held.
func (s *Store) scan(ctx context.Context, namespace string, after state.Ref, refsOf refsFunc, enter func(context.Context) error, leave func()) iter.Seq2[slot, error] {
	return func(yield func(slot, error) bool) {
		for i := range s.opts.Streams {
			if !after.IsZero() && s.streamOf(after.Routing()) > i {
				continue
			}
			if err := enter(ctx); err != nil {
				yield(slot{}, err)
				return
			}
			refs, err := refsOf(ctx, i, namespace, after)
			leave()
			if err != nil {
				yield(slot{}, err)
				return
			}
			for page := range slices.Chunk(refs, readAtOnce) {
				if err := enter(ctx); err != nil {
					yield(slot{}, err)
					return
				}
				slots, err := s.loadAll(ctx, namespace, page)
				leave()
				if err != nil {
					yield(slot{}, err)
					return
				}
				for _, sl := range slots {
					if err := ctx.Err(); err != nil {
						yield(slot{}, err)
						return
					}
					if !yield(sl, nil) {
						return
					}
				}
			}
		}
	}
}

// refs asks which records of a namespace a stream has, behind a ref.
func (s *Store) refs(ctx context.Context, stream int, namespace string, after state.Ref) ([]state.Ref, error) {
	subjects, err := s.subjects(ctx, stream, s.recordSubjects(stream, namespace))
	if err != nil {
		return nil, err
	}
	var refs []state.Ref
	for _, subject := range subjects {
		ref, err := state.ParseRef(subject[strings.LastIndexByte(subject, '.')+1:])
		if err == nil {
			refs = append(refs, ref)
		}
	}
	return behind(refs, after), nil
}

// refsOf reads the indexes of a user: one for each routing byte that his records
// have, which is one if a Manager with a key has made them.
func (s *Store) refsOf(user string) refsFunc {
	return func(ctx context.Context, stream int, namespace string, after state.Ref) ([]state.Ref, error) {
		subjects, err := s.subjects(ctx, stream, s.indexSubjects(stream, namespace, user))
		if err != nil {
			return nil, err
		}
		var refs []state.Ref
		for _, subject := range subjects {
			m, err := s.get(ctx, stream, subject)
			if err != nil {
				return nil, err
			}
			ix, err := parseIndex(m)
			if err != nil {
				return nil, err
			}
			for _, e := range ix.Entries {
				refs = append(refs, e.Ref)
			}
		}
		return behind(refs, after), nil
	}
}

// behind returns the refs that come after one, sorted, each once.
func behind(refs []state.Ref, after state.Ref) []state.Ref {
	if !after.IsZero() {
		refs = slices.DeleteFunc(refs, func(r state.Ref) bool { return r.Compare(after) <= 0 })
	}
	slices.SortFunc(refs, state.Ref.Compare)
	return slices.Compact(refs)
}

// subjects asks which subjects a stream has that match a filter.
func (s *Store) subjects(ctx context.Context, stream int, filter string) ([]string, error) {
	var all []string
	for {
		info, err := s.info(ctx, stream, filter, len(all))
		if err != nil {
			return nil, err
		}
		for subject := range info.State.Subjects {
			all = append(all, subject)
		}
		if len(info.State.Subjects) == 0 || len(all) >= info.Total {
			return all, nil
		}
	}
}

// loadAll reads several records at once.
func (s *Store) loadAll(ctx context.Context, namespace string, refs []state.Ref) ([]slot, error) {
	slots, errs := make([]slot, len(refs)), make([]error, len(refs))
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() { slots[i], errs[i] = s.load(ctx, state.Key{Namespace: namespace, Ref: ref}) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slots, nil
}

// entered is for a scan within an operation.
func entered(ctx context.Context) error { return ctx.Err() }
