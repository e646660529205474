package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options say what is migrated. Only Namespace is required.
type Options struct {
	Namespace string // of the source
	// To is the namespace of the target. Empty: the same.
	To string
	// Kind is the kind of the records. Empty: every kind but the system's own.
	Kind string
	// Page is how many records are held in memory of each store. Zero: 128.
	Page int
	// OnProgress hears of each page. Nil: nobody.
	OnProgress func(Stats)
}

func (o Options) withDefaults() Options {
	if o.To == "" {
		o.To = o.Namespace
	}
	if o.Page <= 0 {
		o.Page = 128
	}
	if o.OnProgress == nil {
		o.OnProgress = func(Stats) {}
	}
	return o
}

// Stats count what a pass did.
type Stats struct {
	Seen    int // live records of the source
	Copied  int // imported
	Updated int // brought to a newer version
	Touched int // only deadlines were brought up to date
	Ended   int // ended in the target, since they have ended in the source
	Left    int // newer, live or ended in the target: left alone
	Expired int // expired in the target between two passes, but live in the source: lost to the target
}

// Quiet reports whether the pass found nothing to copy, to update or to end.
func (s Stats) Quiet() bool { return s.Copied == 0 && s.Updated == 0 && s.Ended == 0 }

func (s Stats) String() string {
	return fmt.Sprintf("%d records: %d copied, %d updated, %d touched, %d ended, %d left alone", s.Seen, s.Copied, s.Updated, s.Touched, s.Ended, s.Left)
}

// Pass makes the target what the source is; see the package comment. After an
// error it says how far it came, and can be made again.
func Pass(ctx context.Context, from, to state.Store, opts Options) (Stats, error) {
	p := &pass{from: from, to: to, opts: opts.withDefaults()}
	for {
		src, dst, last, err := p.pages(ctx)
		if err == nil {
			err = p.sync(ctx, src, dst)
		}
		if err != nil {
			return p.stats, fmt.Errorf("migrate records of namespace %s: %w", opts.Namespace, err)
		}
		p.opts.OnProgress(p.stats)
		if last {
			return p.stats, nil
		}
	}
}

// End ends, in the source and for [state.ReasonMigrated], the records that the
// target has in the same or a newer version, and returns how many. A write to
// the source that is made meanwhile may be lost: servers must have left it.
func End(ctx context.Context, from, to state.Store, by string, opts Options) (int, error) {
	p := &pass{from: from, to: to, opts: opts.withDefaults()}
	ended := 0
	for {
		src, dst, last, err := p.pages(ctx)
		if err != nil {
			return ended, fmt.Errorf("end migrated records of namespace %s: %w", opts.Namespace, err)
		}
		copies := index(dst)
		var ops []state.Op
		for i := range src {
			if c := copies[src[i].Ref]; c != nil && c.Version >= src[i].Version {
				ops = append(ops, state.DeleteOp{Key: src[i].Key(), Reason: state.ReasonMigrated, By: by})
			}
		}
		for _, res := range apply(ctx, from, ops) {
			if res.Err != nil {
				return ended, fmt.Errorf("end migrated records of namespace %s: %w", opts.Namespace, res.Err)
			}
			ended += len(res.Ended)
		}
		if last {
			return ended, nil
		}
	}
}

// A pass goes through both stores. It lists nothing while it writes.
type pass struct {
	from, to state.Store
	opts     Options
	cursor   state.Ref // all up to here is done
	stats    Stats
}

// pages reads the next records of both stores, up to a ref that neither page
// goes beyond, and moves the cursor there. last says that there are no more.
func (p *pass) pages(ctx context.Context) (src, dst []state.Record, last bool, err error) {
	if src, err = p.page(ctx, p.from, p.opts.Namespace); err != nil {
		return nil, nil, false, fmt.Errorf("source: %w", err)
	}
	if dst, err = p.page(ctx, p.to, p.opts.To); err != nil {
		return nil, nil, false, fmt.Errorf("target: %w", err)
	}
	srcFull, dstFull := len(src) == p.opts.Page, len(dst) == p.opts.Page
	var bound state.Ref // zero: none
	for _, full := range []struct {
		page []state.Record
		is   bool
	}{{src, srcFull}, {dst, dstFull}} {
		if !full.is {
			continue
		}
		end := full.page[len(full.page)-1].Ref
		if bound.IsZero() || end.Compare(bound) < 0 {
			bound = end
		}
	}
	if bound.IsZero() {
		return src, dst, true, nil
	}
	p.cursor = bound
	return upTo(src, bound), upTo(dst, bound), false, nil
}

func (p *pass) page(ctx context.Context, s state.Store, namespace string) (page []state.Record, err error) {
	q := state.Query{Namespace: namespace, Kind: p.opts.Kind, After: p.cursor, Max: p.opts.Page}
	for r, err := range s.List(ctx, q) {
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, nil
}

func upTo(page []state.Record, bound state.Ref) []state.Record {
	for i := range page {
		if page[i].Ref.Compare(bound) > 0 {
			return page[:i]
		}
	}
	return page
}

func index(page []state.Record) map[state.Ref]*state.Record {
	byRef := make(map[state.Ref]*state.Record, len(page))
	for i := range page {
		byRef[page[i].Ref] = &page[i]
	}
	return byRef
}

// sync makes what the target has of a page what the source has.
func (p *pass) sync(ctx context.Context, src, dst []state.Record) error {
	copies, originals := index(dst), index(src)
	var imports []state.Op
	for i := range src {
		r := &src[i]
		p.stats.Seen++
		if c := copies[r.Ref]; c != nil {
			if err := p.update(ctx, r, c); err != nil {
				return err
			}
			continue
		}
		copied := *r
		copied.Namespace = p.opts.To
		imports = append(imports, state.ImportOp{Record: copied})
	}
	if err := p.imports(ctx, imports); err != nil {
		return err
	}
	for i := range dst {
		if originals[dst[i].Ref] == nil {
			if err := p.ended(ctx, &dst[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply is Apply for none, too.
func apply(ctx context.Context, s state.Store, ops []state.Op) []state.Result {
	if len(ops) == 0 {
		return nil
	}
	return s.Apply(ctx, ops...)
}

func (p *pass) imports(ctx context.Context, ops []state.Op) error {
	for i, res := range apply(ctx, p.to, ops) {
		switch {
		case res.Err == nil:
			p.stats.Copied++
		case errors.Is(res.Err, state.ErrNotFound): // it has expired meanwhile
		case errors.Is(res.Err, state.ErrExists):
			if err := p.taken(ctx, ops[i].Target()); err != nil {
				return err
			}
		default:
			return fmt.Errorf("import %v: %w", ops[i].Target().Ref, res.Err)
		}
	}
	return nil
}

// taken finds out why the target refuses a record that it does not list.
func (p *pass) taken(ctx context.Context, key state.Key) error {
	_, err := p.to.Get(ctx, key)
	var gone *state.NotFoundError
	switch {
	case errors.As(err, &gone) && gone.End != nil && (gone.End.Reason == state.ReasonIdle || gone.End.Reason == state.ReasonAbsolute):
		p.stats.Expired++
	case err == nil, errors.Is(err, state.ErrNotFound):
		p.stats.Left++
	default:
		return fmt.Errorf("look at %v in the target: %w", key.Ref, err)
	}
	return nil
}

// ended ends in the target what has ended in the source. What the source never
// had, or what went the other way, is the target's own.
func (p *pass) ended(ctx context.Context, c *state.Record) error {
	_, err := p.from.Get(ctx, state.Key{Namespace: p.opts.Namespace, Ref: c.Ref})
	var gone *state.NotFoundError
	switch {
	case err == nil:
		return nil // it came meanwhile; the next pass sees it
	case !errors.As(err, &gone):
		return fmt.Errorf("look at %v in the source: %w", c.Ref, err)
	case gone.End == nil || gone.End.Reason == state.ReasonMigrated:
		return nil
	case c.Epoch > 0 || c.Version > gone.End.Version:
		p.stats.Left++
		return nil
	}
	res := p.to.Apply(ctx, state.DeleteOp{Key: c.Key(), Reason: gone.End.Reason, By: gone.End.By, ID: gone.End.Op})[0]
	if res.Err != nil {
		return fmt.Errorf("end %v in the target: %w", c.Ref, res.Err)
	}
	p.stats.Ended += len(res.Ended)
	return nil
}
