package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func watchChecks() []check {
	return []check{
		{"ReportsChanges", watchReports, 0},
		{"ReportsEvictionAndExpiry", watchEndings, 0},
		{"ReportsNoTouches", watchTouches, 0},
		{"ReportsNoFailures", watchFailures, 0},
		{"ReportsFromTheMomentItReturns", watchFromNow, 0},
		{"KeepsTheOrderOfARecord", watchOrder, 0},
		{"ServesSeveralWatchers", watchSeveral, 0},
		{"SeparatesNamespaces", watchNamespaces, 0},
		{"ReportsAllKinds", watchKinds, 0},
		{"MissesNothingOrSaysSo", watchComplete, 0},
		{"SlowWatcherBlocksNoWriter", watchSlow, 0},
		{"Beats", watchBeats, 0},
		{"BeatsByDefault", watchBeatsDefault, 0},
		{"EndsWithItsContext", watchEnds, 0},
		{"EndsWithItsContextWhileChangesWait", watchEndsFull, 0},
		{"RefusesInvalid", watchInvalid, 0},
	}
}

// A watcher reads one watch.
type watcher struct {
	e    *env
	ch   <-chan state.Change
	stop context.CancelFunc
	// leaveOut has changes from before the watch, which may come late.
	leaveOut map[state.Change]bool
}

// watch begins a watch of the check's namespace. The caller calls stop.
func (e *env) watch() *watcher {
	e.Helper()
	return e.watchWith(state.WatchOptions{Namespace: e.ns, Beat: 20 * time.Millisecond})
}

func (e *env) watchWith(o state.WatchOptions) *watcher {
	e.Helper()
	ctx, cancel := context.WithCancel(e.ctx)
	ch, err := e.store.Watch(ctx, o)
	if err != nil {
		cancel()
		e.Fatalf("Watch: %v", err)
	}
	w := &watcher{e: e, ch: ch, stop: cancel}
	e.Cleanup(cancel)
	return w
}

// next returns the next change that is no Beat.
func (w *watcher) next() (state.Change, error) {
	timeout := time.NewTimer(w.e.h.within())
	defer timeout.Stop()
	for {
		select {
		case c, ok := <-w.ch:
			if !ok {
				return state.Change{}, errors.New("watch: the channel was closed though neither the context was done nor the store closed")
			}
			if c.Type != state.Beat {
				return c, nil
			}
		case <-timeout.C:
			return state.Change{}, fmt.Errorf("watch: neither a change nor a gap within %v of an acknowledged write", w.e.h.within())
		}
	}
}

// comparableChange is a change without what is not laid down.
func comparableChange(c state.Change) state.Change {
	if c.Type == state.Deleted || c.Type == state.Expired {
		c.Revision = 0
	}
	return c
}

// collect returns the next n changes but for those to leave out; gap is true if
// a Gap came first.
func (w *watcher) collect(n int) (got []state.Change, gap bool) {
	w.e.Helper()
	for len(got) < n {
		c, err := w.next()
		if err != nil {
			w.e.Fatalf("%v; got %d of %d changes", err, len(got), n)
		}
		if c.Type == state.Gap {
			if c.Key != (state.Key{}) {
				w.e.Fatalf("Gap with the key %v; it is about no record", c.Key)
			}
			return got, true
		}
		if !w.leaveOut[comparableChange(c)] {
			got = append(got, c)
		}
	}
	return got, false
}

// expectChanges runs act beside a watch, and compares what is reported with
// what act returns. A Gap is always legal, so the attempt is then repeated; but
// a store that knows nothing but gaps fails. What the attempts before did may
// still be reported: it is left out.
func (e *env) expectChanges(act func() []state.Change) {
	e.Helper()
	before := map[state.Change]bool{}
	for range 5 {
		w := e.watch()
		w.leaveOut = before
		want := act()
		got, gap := w.collect(len(want))
		w.stop()
		if gap {
			for _, c := range want {
				before[comparableChange(c)] = true
			}
			continue
		}
		for i := range got {
			got[i] = comparableChange(got[i])
		}
		e.compareChanges(got, want)
		return
	}
	e.Fatal("Watch: five quiet watches in a row had a gap")
}

// compareChanges compares per record, since only there the order is promised.
func (e *env) compareChanges(got, want []state.Change) {
	e.Helper()
	for len(want) > 0 {
		k := want[0].Key
		g, w := changesOf(got, k), changesOf(want, k)
		for i := range max(len(g), len(w)) {
			switch {
			case i >= len(g):
				e.Fatalf("Watch: %v was not reported; got %d changes of the record, want %d", describeChange(w[i]), len(g), len(w))
			case i >= len(w):
				e.Fatalf("Watch: %v was reported, which should not be", describeChange(g[i]))
			case g[i] != w[i]:
				e.Fatalf("Watch: change %d of a record: got %v, want %v", i+1, describeChange(g[i]), describeChange(w[i]))
			}
		}
		other := func(c state.Change) bool { return c.Key == k }
		got, want = slices.DeleteFunc(got, other), slices.DeleteFunc(want, other)
	}
	if len(got) > 0 {
		e.Fatalf("Watch: %v was reported, which should not be", describeChange(got[0]))
	}
}

func changesOf(cs []state.Change, k state.Key) (of []state.Change) {
	for _, c := range cs {
		if c.Key == k {
			of = append(of, c)
		}
	}
	return of
}

func describeChange(c state.Change) string {
	return fmt.Sprintf("%v (kind %s, version %d, revision %d, reason %q, by %q)", c.Type, c.Kind, c.Version, c.Revision, c.Reason, c.By)
}

// written is how a write that left the record live is reported.
func written(t state.ChangeType, k state.Key, kind string, s state.Stamp) state.Change {
	return state.Change{Type: t, Key: k, Kind: kind, Version: s.Version, Revision: s.Revision}
}

// endedBy is how an ending is reported. Its revision is not laid down.
func endedBy(t state.ChangeType, end state.End) state.Change {
	return state.Change{Type: t, Key: end.Key, Kind: end.Kind, Version: end.Version, Reason: end.Reason, By: end.By}
}

func watchReports(e *env) {
	e.expectChanges(func() []state.Change {
		op, imp := e.createOp(), e.exported()
		k := op.Target()
		return []state.Change{
			written(state.Created, k, kind, e.must(op).Stamp),
			written(state.Created, imp.Key(), kind, e.must(state.ImportOp{Record: imp}).Stamp),
			written(state.Updated, k, kind, e.must(state.UpdateOp{Key: k, Version: 1, Data: data("v", `1`)}).Stamp),
			written(state.Updated, k, kind, e.must(state.ExtendOp{Key: k, For: longLife, Max: 9 * longLife}).Stamp),
			written(state.Updated, k, kind, e.must(state.SetOwnerOp{Key: k, Owner: "one"}).Stamp),
			endedBy(state.Deleted, e.must(state.DeleteOp{Key: k, Reason: state.ReasonRevoked, By: "admin"}).Ended[0]),
		}
	})
}

func watchEndings(e *env) {
	e.expectChanges(func() []state.Change {
		name := "u-" + newNamespace() // each attempt on records of its own
		first := e.createOp(user(name))
		created := written(state.Created, first.Target(), kind, e.must(first).Stamp)
		second := e.createOp(user(name), e.brief, limit(state.Limit{PerUser: 1}), func(op *state.CreateOp) { op.By = "newer" })
		res := e.must(second)
		changes := []state.Change{
			created,
			endedBy(state.Deleted, res.Ended[0]),
			written(state.Created, second.Target(), kind, res.Stamp),
		}
		e.expire(e.life())
		for _, end := range e.sweepAll(state.SweepOptions{Namespace: e.ns}) {
			changes = append(changes, endedBy(state.Expired, end))
		}
		return changes
	})
}

func watchTouches(e *env) {
	r := e.create()
	version := r.Version
	e.expectChanges(func() []state.Change {
		for range 5 {
			e.must(state.TouchOp{Key: r.Key(), Idle: longLife})
		}
		s := e.must(state.UpdateOp{Key: r.Key(), Version: version, Data: data("v", `1`)}).Stamp
		version = s.Version
		return []state.Change{written(state.Updated, r.Key(), kind, s)}
	})
}

func watchFailures(e *env) {
	r := e.create(user("u"))
	expired := e.createEnded(e.brief, user("v"))
	version := r.Version
	e.expectChanges(func() []state.Change {
		e.fails(e.createOp(at(r.Key())), state.ErrExists)
		e.fails(e.createOp(user("u"), limit(state.Limit{PerUser: 1, Refuse: true})), state.ErrLimit)
		e.fails(state.UpdateOp{Key: r.Key(), Version: 99}, state.ErrConflict)
		e.fails(state.SetOwnerOp{Key: r.Key(), Epoch: 99}, state.ErrFenced)
		for _, op := range everyOp(expired.Target(), 1) {
			e.fails(op, state.ErrNotFound)
		}
		e.must(state.DeleteOp{Key: e.key(), Reason: state.ReasonLogout})
		e.must(state.DeleteOp{Key: expired.Target(), Reason: state.ReasonLogout})
		s := e.must(state.UpdateOp{Key: r.Key(), Version: version, Data: data("v", `1`)}).Stamp
		version = s.Version
		return []state.Change{written(state.Updated, r.Key(), kind, s)}
	})
}

func watchFromNow(e *env) {
	e.expectChanges(func() []state.Change { return []state.Change{e.marker()} })
	for range 20 {
		e.marker()
	}
	e.expectChanges(func() []state.Change { return []state.Change{e.marker()} })
}

// marker makes a change and returns how it is reported.
func (e *env) marker() state.Change {
	e.Helper()
	op := e.createOp(lean)
	return written(state.Created, op.Target(), kind, e.must(op).Stamp)
}

func watchOrder(e *env) {
	e.expectChanges(func() []state.Change {
		changes := make([][]state.Change, 6)
		e.parallel(len(changes), func(i int) error {
			op := e.createOp(lean)
			r := e.store.Apply(e.ctx, op)[0]
			changes[i] = []state.Change{written(state.Created, op.Target(), kind, r.Stamp)}
			for range 10 {
				r = e.store.Apply(e.ctx, state.UpdateOp{Key: op.Target(), Version: r.Stamp.Version, Data: data("v", `1`)})[0]
				if r.Err != nil {
					return fmt.Errorf("update: %w", r.Err)
				}
				changes[i] = append(changes[i], written(state.Updated, op.Target(), kind, r.Stamp))
			}
			return nil
		})
		return slices.Concat(changes...)
	})
}

func watchSeveral(e *env) {
	before := map[state.Change]bool{} // what the attempts before did, which may still be reported
	for range 5 {
		one, two, gone := e.watch(), e.watch(), e.watch()
		one.leaveOut, two.leaveOut = before, before
		gone.stop()
		want := []state.Change{e.marker(), e.marker(), e.marker()}
		gotOne, gapOne := one.collect(len(want))
		gotTwo, gapTwo := two.collect(len(want))
		one.stop()
		two.stop()
		if gapOne || gapTwo {
			for _, c := range want {
				before[comparableChange(c)] = true
			}
			continue
		}
		e.compareChanges(gotOne, slices.Clone(want))
		e.compareChanges(gotTwo, want)
		return
	}
	e.Fatal("Watch: five quiet watches in a row had a gap")
}

func watchNamespaces(e *env) {
	other := e.on(e.store)
	other.ns = e.ns + "-other"
	e.expectChanges(func() []state.Change {
		other.marker()
		c := e.marker()
		other.marker()
		return []state.Change{c}
	})
}

func watchKinds(e *env) {
	e.expectChanges(func() []state.Change {
		var changes []state.Change
		for _, k := range []string{"session", "basket", "_node"} {
			op := e.createOp(ofKind(k))
			changes = append(changes, written(state.Created, op.Target(), k, e.must(op).Stamp))
		}
		return changes
	})
}

// watchComplete writes from many goroutines and checks that each change was
// reported, or a Gap.
func watchComplete(e *env) {
	w := e.watch()
	defer w.stop()
	const writers, each = 8, 25
	reports := make(chan map[state.Key]bool, 1)
	failed := make(chan error, 1)
	go func() {
		seen := map[state.Key]bool{}
		for len(seen) < writers*each {
			c, err := w.next()
			if err != nil {
				failed <- err
				return
			}
			if c.Type == state.Gap {
				break // legal; nothing more can be said
			}
			seen[c.Key] = true
		}
		reports <- seen
	}()
	e.parallel(writers, func(int) error {
		for range each {
			if r := e.store.Apply(e.ctx, e.createOp(lean))[0]; r.Err != nil {
				return fmt.Errorf("create: %w", r.Err)
			}
		}
		return nil
	})
	select {
	case <-reports:
	case err := <-failed:
		e.Fatalf("after %d acknowledged writes: %v", writers*each, err)
	}
}

func watchSlow(e *env) {
	n := 4000
	if testing.Short() {
		n = 1500
	}
	w := e.watch()
	defer w.stop()
	e.populate(n) // nobody reads meanwhile
	seen := map[state.Key]int{}
	for gap := false; !gap && len(seen) < n; {
		var got []state.Change
		got, gap = w.collect(1)
		for _, c := range got {
			if seen[c.Key]++; seen[c.Key] > 1 {
				e.Fatalf("Watch: the creation of %v was reported twice", c.Key)
			}
		}
	}
	for range 5 { // from then on it reports again
		want := e.marker()
		for {
			got, gap := w.collect(1)
			if gap {
				break
			}
			if got[0].Key == want.Key {
				return
			}
		}
	}
	e.Fatal("Watch: after it was slow once, a watcher that keeps up gets nothing but gaps")
}

func watchBeats(e *env) {
	w := e.watchWith(state.WatchOptions{Namespace: e.ns, Beat: 10 * time.Millisecond})
	defer w.stop()
	w.beats(3)
}

func watchBeatsDefault(e *env) {
	if testing.Short() {
		e.Skip("takes a second")
	}
	w := e.watchWith(state.WatchOptions{Namespace: e.ns})
	defer w.stop()
	w.beats(1)
}

func (w *watcher) beats(n int) {
	w.e.Helper()
	timeout := time.NewTimer(w.e.h.within())
	defer timeout.Stop()
	for seen := 0; seen < n; {
		select {
		case c, ok := <-w.ch:
			switch {
			case !ok:
				w.e.Fatal("Watch: the channel was closed, want a beat")
			case c.Type == state.Beat:
				seen++
			case c.Type != state.Gap:
				w.e.Fatalf("Watch of a namespace in which nothing happens: got %v", describeChange(c))
			}
		case <-timeout.C:
			w.e.Fatalf("Watch: got %d beats in %v, want one every interval", seen, w.e.h.within())
		}
	}
}

// closed ends the check unless the channel is closed in time.
func (w *watcher) closed(why string) {
	w.e.Helper()
	timeout := time.NewTimer(w.e.h.within())
	defer timeout.Stop()
	for {
		select {
		case _, ok := <-w.ch:
			if !ok {
				return
			}
		case <-timeout.C:
			w.e.Fatalf("Watch: the channel is still open %v after %s", w.e.h.within(), why)
		}
	}
}

func watchEnds(e *env) {
	w := e.watch()
	w.stop()
	w.closed("its context was done")
	e.marker()
}

// watchEndsFull cancels a watch that nobody reads and that has much to say.
func watchEndsFull(e *env) {
	w := e.watch()
	e.populate(600)
	w.stop()
	e.populate(600)
	w.closed("its context was done")
}

func watchInvalid(e *env) {
	for _, ns := range []string{"", "Not A Name"} {
		ch, err := e.store.Watch(e.ctx, state.WatchOptions{Namespace: ns})
		wantError(e, fmt.Sprintf("Watch of namespace %q", ns), err, state.ErrInvalid)
		if ch != nil {
			e.Fatal("Watch failed and returned a channel")
		}
	}
}
