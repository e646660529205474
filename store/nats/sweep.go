package nats

import (
	"context"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sweepAtOnce is how many records a Sweep ends at the same time.
const sweepAtOnce = 16

// Sweep implements [state.Store]. It asks which records and tombstones there are
// and reads those that are due, by what it read before.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := state.CheckQuery(state.Query{Namespace: opts.Namespace, Kind: opts.Kind}); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.refresh()
	sw := sweep{s: s, opts: opts, cuts: make(map[int]cut), copies: make(map[int]uint64)}
	err := sw.run(ctx)
	if len(sw.ends) > 0 {
		return sw.ends, nil // what has ended is said once or never
	}
	return nil, err
}

// A sweep is one Sweep under way.
type sweep struct {
	s      *Store
	opts   state.SweepOptions
	due    []state.Key // expired, to be ended
	ends   []state.End
	forgot int
	cuts   map[int]cut    // of each stream, when its refs were asked for
	copies map[int]uint64 // up to where all mirrors of a stream have it
}

func (sw *sweep) run(ctx context.Context) error {
	limit := sw.opts.Limit()
	now := sw.s.clock.now()
	for sl, err := range sw.s.scan(ctx, sw.opts.Namespace, state.Ref{}, sw.refs, entered, func() {}) {
		if err != nil {
			return err
		}
		sw.s.lives.learn(&sl, sw.cuts[sl.stream], now.UnixMilli())
		switch {
		case sl.tomb != nil && sw.forgot < limit && !now.Before(fromMillis(sl.tomb.Due)):
			if err := sw.forget(ctx, sl); err != nil {
				return err
			}
		case sl.rec != nil && sl.rec.Expired(now) && (sw.opts.Kind == "" || sl.rec.Kind == sw.opts.Kind):
			sw.due = append(sw.due, sl.rec.Key())
		}
		if len(sw.due) >= min(sweepAtOnce, limit-len(sw.ends)) {
			if err := sw.endDue(ctx); err != nil {
				return err
			}
		}
		if len(sw.ends) >= limit && sw.forgot >= limit {
			return nil
		}
	}
	return sw.endDue(ctx)
}

// refs is a refsFunc: those of what may be due.
func (sw *sweep) refs(ctx context.Context, stream int, namespace string, after state.Ref) ([]state.Ref, error) {
	c, err := sw.s.cutOf(ctx, stream, namespace)
	if err != nil {
		return nil, err
	}
	sw.cuts[stream] = c
	refs, err := sw.s.refs(ctx, stream, namespace, after)
	if err != nil {
		return nil, err
	}
	return sw.s.lives.due(namespace, stream, sw.s.opts.Streams, c, refs, sw.s.clock.now().UnixMilli()), nil
}

// endDue ends what was found.
func (sw *sweep) endDue(ctx context.Context) error {
	due := sw.due[:min(len(sw.due), sw.opts.Limit()-len(sw.ends))]
	sw.due = nil
	ends, errs := make([]*state.End, len(due)), make([]error, len(due))
	var wg sync.WaitGroup
	for i, key := range due {
		wg.Go(func() { ends[i], errs[i] = sw.s.expire(ctx, key) })
	}
	wg.Wait()
	var failed error
	for i, end := range ends {
		if end != nil {
			sw.ends = append(sw.ends, *end)
		}
		if errs[i] != nil {
			failed = errs[i]
		}
	}
	return failed
}

// expire ends a record if it has expired and nobody else has ended it.
func (s *Store) expire(ctx context.Context, key state.Key) (*state.End, error) {
	var ended *state.End
	err := s.retry(ctx, func(ctx context.Context) error {
		sl, err := s.load(ctx, key)
		if err != nil {
			return err
		}
		now := s.clock.now()
		if sl.rec == nil || !sl.rec.Expired(now) {
			return nil
		}
		end := endOf(sl.rec)
		end.At, end.Reason = sl.rec.Expires(), sl.rec.Expiry()
		err = s.bury(ctx, &sl, end, now, state.Expired)
		if err == nil {
			ended = &end
		}
		return err
	})
	return ended, err
}

// forget removes a tombstone that is due, if all mirrors have it: one that has
// not would keep the record instead, and never hear of its end.
func (sw *sweep) forget(ctx context.Context, sl slot) error {
	upto, known := sw.copies[sl.stream]
	if !known {
		var err error
		if upto, err = sw.s.mirrored(ctx, sl.stream); err != nil {
			sw.s.opts.Logger.Info("nats store: tombstones stay, since mirrors do not answer", "stream", sw.s.streamName(sl.stream), "error", err)
		}
		sw.copies[sl.stream] = upto
	}
	if upto < sl.seq {
		return nil
	}
	sw.forgot++
	return sw.s.forget(ctx, sl)
}

// forget removes a tombstone, if it is still the same, and what events its
// record had before that. Nothing is appended once the record has ended.
func (s *Store) forget(ctx context.Context, sl slot) error {
	if sl.events {
		if err := s.removeEvents(ctx, sl.key); err != nil {
			return err
		}
	}
	// One that it does not remove is there for the next sweep.
	_, err := ask[doneAnswer](ctx, s, "STREAM.MSG.DELETE."+s.called(sl.stream), map[string]any{"seq": sl.seq, "no_erase": true})
	if err == nil {
		s.purgeMirrors(sl.stream, s.recordSubject(sl.key), sl.seq)
	}
	return err
}
