package encrypted

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// ReencryptOptions say which records are sealed anew, and how fast.
type ReencryptOptions struct {
	Namespace string // required
	// Kind is the kind of the records. Empty: every kind but the system's own
	// (a leading "_"), which are done one by one.
	Kind string
	// After starts behind this ref, to go on where an earlier run stopped.
	After state.Ref
	// Batch is how many records are written in one step. Zero: 64.
	Batch int
	// Pause is how long is waited after each batch that wrote, to leave the
	// store to others. Zero: not at all.
	Pause time.Duration
	// OnProgress hears of each batch. Nil: nobody.
	OnProgress func(Progress)
}

// Progress says how far a run has come.
type Progress struct {
	After     state.Ref // everything up to here is done: where to go on
	Seen      int       // records looked at
	Rewritten int       // sealed anew
	Refused   int       // that could not be opened; OnRefusal has heard of each
}

// Reencrypt seals with the active key the records that another sealed, and
// those that are not sealed if [Options.AcceptPlain] is set. What readers see
// does not change but for the version, which rises as with every Update; a
// writer that raced is told of a conflict, as always.
//
// It returns when all is done, or with the error that stopped it and how far it
// came; a run that starts behind [Progress.After] goes on. Records that could
// not be opened are counted and passed over: while there are any, the key that
// sealed them must not be revoked if they are to be rescued. Expired records
// are left to Sweep.
//
// Whoever has not heard of the active key yet may still write with the old one,
// behind the run. So wait until each process has read the ring again, and run
// until nothing is rewritten; then the old key can be revoked.
func (s *Store) Reencrypt(ctx context.Context, opts ReencryptOptions) (Progress, error) {
	if opts.Batch <= 0 {
		opts.Batch = 64
	}
	run := &reencryption{store: s, opts: opts, progress: Progress{After: opts.After}}
	if err := run.all(ctx); err != nil {
		return run.progress, fmt.Errorf("re-encrypt records of namespace %s, behind %v: %w", opts.Namespace, run.progress.After, err)
	}
	return run.progress, nil
}

type reencryption struct {
	store    *Store
	opts     ReencryptOptions
	progress Progress
}

// all goes through the records page by page. Nothing is listed while a page is
// written, so that no store has to keep a listing open for long.
func (run *reencryption) all(ctx context.Context) error {
	for {
		page, err := run.page(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		rewritten, err := run.rewrite(ctx, page)
		run.progress.Rewritten += rewritten
		if err != nil {
			return err
		}
		run.progress.Seen += len(page)
		run.progress.After = page[len(page)-1].Ref
		if run.opts.OnProgress != nil {
			run.opts.OnProgress(run.progress)
		}
		if rewritten == 0 {
			continue
		}
		if err := pause(ctx, run.opts.Pause); err != nil {
			return err
		}
	}
}

func (run *reencryption) page(ctx context.Context) (page []state.Record, err error) {
	q := state.Query{Namespace: run.opts.Namespace, Kind: run.opts.Kind, After: run.progress.After, Max: run.opts.Batch}
	for r, err := range run.store.inner.List(ctx, q) {
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, nil
}

// attempts is how often a record that others write meanwhile is tried. They
// seal with the active key too, unless they have not heard of it.
const attempts = 5

// rewrite seals the records of a page that need it.
func (run *reencryption) rewrite(ctx context.Context, page []state.Record) (rewritten int, err error) {
	for range attempts {
		ops := make([]state.Op, 0, len(page))
		for i := range page {
			if op, ok := run.prepare(ctx, &page[i]); ok {
				ops = append(ops, op)
			}
		}
		if len(ops) == 0 {
			return rewritten, nil
		}
		page = page[:0]
		for i, res := range run.store.inner.Apply(ctx, ops...) {
			key := ops[i].Target()
			switch {
			case res.Err == nil:
				rewritten++
				run.store.seen.saw(key, res.Stamp.Version)
			case errors.Is(res.Err, state.ErrNotFound):
			case errors.Is(res.Err, state.ErrConflict):
				r, err := run.store.inner.Get(ctx, key)
				if err != nil && !errors.Is(err, state.ErrNotFound) {
					return rewritten, err
				}
				if err == nil {
					page = append(page, r)
				}
			default:
				return rewritten, res.Err
			}
		}
	}
	return rewritten, fmt.Errorf("%w: records kept changing", state.ErrConflict)
}

// prepare returns the Update that seals an inner record with the active key, if
// it needs one.
func (run *reencryption) prepare(ctx context.Context, inner *state.Record) (state.Op, bool) {
	s := run.store
	if len(inner.Sealed) > 0 {
		e, _, _, err := parseEnvelope(inner.Sealed)
		if err == nil && e.keyID == s.ring.Active().ID() {
			return nil, false
		}
	}
	r := *inner
	if err := s.open(ctx, &r, time.Time{}); err != nil {
		run.progress.Refused++
		return nil, false
	}
	b := bindingOf(inner)
	b.version++
	sealed, err := s.seal(&b, inner.Created, true, &r)
	if err != nil {
		run.progress.Refused++
		return nil, false
	}
	// With the ID of the operation before, since it is by that that a caller
	// finds out whether its own has happened.
	return state.UpdateOp{
		Key: inner.Key(), Version: inner.Version, ID: inner.LastOp,
		Meta: &state.Metadata{}, Data: map[string]json.RawMessage{}, Sealed: sealed,
	}, true
}
