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
// there are, and for each record.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		if err := state.CheckQuery(q); err != nil {
			yield(state.Record{}, err)
			return
		}
		n := 0
		for sl, err := range s.scan(ctx, q.Namespace, q.After, s.enter, s.leave) {
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

// scan yields what stands in the place of each record of a namespace, in the
// order of refs. It enters with each page, so that between two records nothing
// is held.
func (s *Store) scan(ctx context.Context, namespace string, after state.Ref, enter func(context.Context) error, leave func()) iter.Seq2[slot, error] {
	return func(yield func(slot, error) bool) {
		for i := range s.opts.Streams {
			if !after.IsZero() && s.streamOf(after.Routing()) > i {
				continue
			}
			if err := enter(ctx); err != nil {
				yield(slot{}, err)
				return
			}
			refs, err := s.refs(ctx, i, namespace, after)
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
	prefix := s.streamName(stream) + ".r." + spaceToken(namespace) + "."
	var refs []state.Ref
	for seen := 0; ; {
		info, err := s.info(ctx, stream, prefix+">", seen)
		if err != nil {
			return nil, err
		}
		for subject := range info.State.Subjects {
			ref, err := state.ParseRef(subject[strings.LastIndexByte(subject, '.')+1:])
			if err == nil && (after.IsZero() || ref.Compare(after) > 0) {
				refs = append(refs, ref)
			}
		}
		seen += len(info.State.Subjects)
		if len(info.State.Subjects) == 0 || seen >= info.Total {
			break
		}
	}
	slices.SortFunc(refs, state.Ref.Compare)
	return slices.Compact(refs), nil
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

// count returns how many live records of a kind there are. It reads them all.
func (s *Store) count(ctx context.Context, namespace, kind string) (n int, err error) {
	now := s.clock.now()
	for sl, err := range s.scan(ctx, namespace, state.Ref{}, entered, func() {}) {
		if err != nil {
			return 0, err
		}
		if sl.live(now) && sl.rec.Kind == kind {
			n++
		}
	}
	return n, nil
}
