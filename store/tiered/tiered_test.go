package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// lookups collects what OnLookup hears.
type lookups struct {
	mu   sync.Mutex
	list []string
}

func (l *lookups) add(tier string, hit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hit {
		tier += "+"
	} else {
		tier += "-"
	}
	l.list = append(l.list, tier)
}

// take returns what was heard since it was called last.
func (l *lookups) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

// A rig is a tiered store on a store that can be written to behind its back,
// with clocks that stand still.
type rig struct {
	*testing.T
	clock *statetest.Clock
	below state.Store
	wire  *cable
	store *tiered.Store
	heard *lookups
}

func newRig(t *testing.T, wire cut, opts tiered.Options) *rig {
	r := &rig{T: t, clock: statetest.NewClock(), heard: &lookups{}}
	r.below = openMemory(t, r.clock)
	r.wire = &cable{Store: r.below}
	opts.Clock, opts.OnLookup = r.clock.Now, r.heard.add
	r.store = open(t, r.wire, opts)
	_ = isGone(t, r.store, newKey(t)) // starts the watch
	synctest.Wait()
	r.wire.cut(wire)
	r.heard.take()
	return r
}

// expect compares what a Get asked, in order.
func (r *rig) expect(what string, want ...string) {
	r.Helper()
	if got := r.heard.take(); !slices.Equal(got, want) {
		r.Errorf("%s: asked %v, want %v", what, got, want)
	}
}

// served creates a record that is served from the first tier.
func (r *rig) served() state.Key {
	r.Helper()
	key := create(r, r.store)
	get(r, r.store, key)
	r.heard.take()
	get(r, r.store, key)
	r.expect("a second get", "l1+")
	return key
}

func TestLookupsAreCountedPerTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newCache(t), newCache(t)
		r := newRig(t, whole, tiered.Options{Tiers: []tiered.Tier{{Cache: one}, {Cache: two, Shared: true}}})
		key := create(t, r.store)
		get(t, r.store, key)
		r.expect("the first get", "l1-", "l2-", "l3+")
		get(t, r.store, key)
		r.expect("the second", "l1+")
		if err := one.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		get(t, r.store, key)
		r.expect("when the first tier has forgotten", "l1-", "l2+")
		get(t, r.store, key)
		r.expect("after that", "l1+")
		isGone(t, r.store, newKey(t))
		r.expect("of what is not there", "l1-", "l2-", "l3-")
	})
}

func TestNames(t *testing.T) {
	for n, want := range map[int]string{1: "[l1 l3]", 2: "[l1 l2 l3]", 3: "[l1 l2 l3 l4]"} {
		if got := fmt.Sprint(tiered.Names(n)); got != want {
			t.Errorf("%d caches: %s, want %s", n, got, want)
		}
	}
}

func TestCopyIsReturnedNoLongerThanTheBound(t *testing.T) {
	for _, isShared := range []bool{false, true} {
		t.Run(fmt.Sprintf("Shared=%v", isShared), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, deaf, tiered.Options{
					Staleness: 4 * time.Second, Beat: time.Hour,
					Tiers: []tiered.Tier{{Cache: newCache(t), Shared: isShared}},
				})
				key := r.served()
				do(t, r.below, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
				r.clock.Advance(4*time.Second - 1)
				if isGone(t, r.store, key) {
					t.Error("the watch is cut, yet the deletion was noticed: the test shows nothing")
				}
				r.clock.Advance(1)
				if !isGone(t, r.store, key) {
					t.Error("at the end of the bound the copy was returned")
				}
			})
		})
	}
}

// Copies of one revision are renewed: else the first would be the last.
func TestCopyIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Beat: time.Hour})
		key := r.served()
		for range 3 {
			r.clock.Advance(tiered.DefaultStaleness)
			get(t, r.store, key)
			r.expect("a get of a copy that is too old", "l1-", "l3+")
			get(t, r.store, key)
			r.expect("a get of a renewed copy", "l1+")
		}
	})
}

// The age of a copy does not begin anew when a tier before gets it.
func TestAgeIsKeptFromTierToTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newCache(t)
		r := newRig(t, deaf, tiered.Options{
			Staleness: 4 * time.Second, Beat: time.Hour,
			Tiers: []tiered.Tier{{Cache: one}, {Cache: newCache(t), Shared: true}},
		})
		key := r.served()
		r.clock.Advance(3 * time.Second)
		if err := one.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		get(t, r.store, key)
		r.expect("a get from the second tier", "l1-", "l2+")
		get(t, r.store, key)
		r.expect("a get of what the second gave the first", "l1+")
		r.clock.Advance(time.Second)
		get(t, r.store, key)
		r.expect("when it is too old", "l1-", "l2-", "l3+")
	})
}

func TestRemainingIsCountedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Beat: time.Hour})
		key := r.served()
		want := get(t, r.below, key).Remaining
		r.clock.Advance(3*time.Second + 5)
		r.heard.take()
		if got := get(t, r.store, key).Remaining; got != want-3*time.Second-5 {
			t.Errorf("after three seconds Remaining is %v, and was %v", got, want)
		}
		r.expect("that get", "l1+")
	})
}

func TestCopyThatLooksExpiredIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Staleness: time.Hour, Beat: time.Hour})
		key := newKey(t)
		op := creation(key)
		op.Idle = time.Minute
		do(t, r.store, op)
		get(t, r.store, key)
		r.clock.Advance(30 * time.Second)
		do(t, r.below, state.TouchOp{Key: key, Idle: time.Minute}) // of which no watch tells
		r.clock.Advance(30 * time.Second)
		r.heard.take()
		if got := get(t, r.store, key).Remaining; got.Round(time.Second) != 30*time.Second {
			t.Errorf("a record that was touched elsewhere has %v left, want 30s", got)
		}
		r.expect("a get of a copy that looks expired", "l1-", "l3+")
		r.clock.Advance(30 * time.Second)
		if !isGone(t, r.store, key) {
			t.Error("an expired record was returned")
		}
	})
}

func TestPreviousSecretIsReturnedNoLongerThanItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Beat: time.Hour})
		key := create(t, r.store)
		do(t, r.store, state.UpdateOp{Key: key, Version: 1, Rotate: &state.Rotation{Hash: state.Hash{9}, Grace: 2 * time.Second}})
		for range 2 {
			if get(t, r.store, key).Secret.Previous.IsZero() {
				t.Error("within its grace the previous secret is not returned")
			}
		}
		r.clock.Advance(2 * time.Second)
		if !get(t, r.store, key).Secret.Previous.IsZero() {
			t.Error("after its grace the previous secret is returned")
		}
	})
}

// A change elsewhere is seen as soon as the watch has told of it.
func TestChangeElsewhereIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{})
		key := r.served()
		update(t, r.below, key, 1, `7`)
		synctest.Wait()
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after an update elsewhere: version %d", got.Version)
		}
		do(t, r.below, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
		synctest.Wait()
		if !isGone(t, r.store, key) {
			t.Error("after a deletion elsewhere the copy was returned")
		}
	})
}

// Whoever hears of a change from a Watch of the store reads it afterwards.
func TestWatcherReadsWhatItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{})
		key := r.served()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changes, err := r.store.Watch(ctx, state.WatchOptions{Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		r.wire.cut(deafFirst) // so that only the watcher's own channel tells
		update(t, r.below, key, 1, `7`)
		beats := 0
		for c := range changes {
			if c.Type == state.Updated {
				break
			}
			if beats++; c.Type != state.Beat || beats > 100 {
				t.Fatalf("got %v after %d beats", c.Type, beats)
			}
		}
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after it was told of an update the watcher reads version %d", got.Version)
		}
	})
}

// While the watch is lost, and after a gap, nothing is returned that was read
// before.
func TestLostWatchBypassesAndDropsTheCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []bool
		r := newRig(t, whole, tiered.Options{
			Staleness: time.Hour, Beat: time.Second,
			OnWatch: func(ns string, healthy bool) { states = append(states, healthy) },
		})
		key := r.served()
		r.wire.cut(silent)
		update(t, r.below, key, 1, `7`)
		time.Sleep(time.Minute) // watches can be begun, and say nothing
		r.wire.cut(refused)
		time.Sleep(time.Minute)
		r.heard.take()
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("with the watch lost: version %d", got.Version)
		}
		r.expect("with the watch lost", "l3+")
		r.wire.cut(whole)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("with the watch back: version %d", got.Version)
		}
		r.expect("with the watch back", "l1-", "l3+")
		get(t, r.store, key)
		r.expect("after that", "l1+")
		if want := []bool{true, false, true}; !slices.Equal(states, want) {
			t.Errorf("told of the watch %v, want %v", states, want)
		}
	})
}

// A silence is noticed by the next Get, though nobody has woken up yet to see
// it, as after the machine has slept.
func TestSilenceIsNoticedByTheNextGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Staleness: time.Hour, Beat: time.Second})
		key := r.served()
		r.clock.Advance(3*time.Second + 1)
		get(t, r.store, key)
		r.expect("three beats later", "l3+")
		time.Sleep(time.Second) // a beat
		synctest.Wait()
		get(t, r.store, key)
		r.expect("after the next beat", "l1-", "l3+")
	})
}

func TestGapDropsTheCaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, whole, tiered.Options{Staleness: time.Hour, Beat: time.Hour})
		key := r.served()
		r.wire.cut(deaf)
		update(t, r.below, key, 1, `7`)
		synctest.Wait()
		if got := get(t, r.store, key); got.Version != 1 {
			t.Fatal("the update was noticed: the test shows nothing")
		}
		r.wire.cut(gap)
		create(t, r.below)
		synctest.Wait()
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after a gap: version %d", got.Version)
		}
	})
}

// A slow inner Get must not bring back what was changed meanwhile.
func TestFillThatRacedAWriteIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := statetest.NewClock()
		below := openMemory(t, clock)
		slow := &slowGet{Store: below, reached: make(chan struct{}), proceed: make(chan struct{})}
		s := open(t, slow, tiered.Options{Clock: clock.Now, Beat: time.Hour})
		isGone(t, s, newKey(t))
		synctest.Wait()
		for name, write := range map[string]func(state.Key){
			"OwnUpdate":   func(k state.Key) { update(t, s, k, 1, `1`) },
			"OwnDelete":   func(k state.Key) { do(t, s, state.DeleteOp{Key: k, Reason: state.ReasonLogout}) },
			"OtherUpdate": func(k state.Key) { update(t, below, k, 1, `1`); synctest.Wait() },
			"OtherDelete": func(k state.Key) { do(t, below, state.DeleteOp{Key: k, Reason: state.ReasonLogout}); synctest.Wait() },
		} {
			key := create(t, s)
			slow.on.Store(true)
			read := make(chan state.Record)
			go func() {
				r, _ := s.Get(t.Context(), key)
				read <- r
			}()
			<-slow.reached // it has read version 1
			slow.on.Store(false)
			write(key)
			close(slow.proceed)
			if r := <-read; r.Version != 1 {
				t.Fatalf("%s: the slow get returned version %d", name, r.Version)
			}
			slow.proceed = make(chan struct{})
			if r, err := s.Get(t.Context(), key); err == nil && r.Version == 1 {
				t.Errorf("%s: a get after the write returned what was before", name)
			}
		}
	})
}

// slowGet is a store whose Get waits with what it has read.
type slowGet struct {
	state.Store
	on      atomic.Bool
	reached chan struct{}
	proceed chan struct{}
}

func (s *slowGet) Get(ctx context.Context, key state.Key) (state.Record, error) {
	r, err := s.Store.Get(ctx, key)
	if s.on.Load() {
		s.reached <- struct{}{}
		<-s.proceed
	}
	return r, err
}

// Whoever lost against another writer, or does not know how his write went,
// does not get the copy on which he relied again.
func TestRecordInDoubtIsReadFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, deaf, tiered.Options{Staleness: time.Hour, Beat: time.Hour})
		key := r.served()
		update(t, r.below, key, 1, `1`)
		if err := r.store.Apply(t.Context(), state.UpdateOp{Key: key, Version: 1})[0].Err; !errors.Is(err, state.ErrConflict) {
			t.Fatalf("got error %v", err)
		}
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after a conflict: version %d", got.Version)
		}
		r.clock.Advance(time.Second)
		get(t, r.store, key)
		r.heard.take()
		get(t, r.store, key)
		r.expect("when the doubt is cleared up", "l1+")
	})
}

func TestUnknownOutcomePutsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := statetest.NewClock()
		below := openMemory(t, clock)
		s := open(t, &amnesic{below}, tiered.Options{Clock: clock.Now, Staleness: time.Hour, Beat: time.Hour})
		key := create(t, below)
		isGone(t, s, newKey(t))
		synctest.Wait()
		for range 2 {
			get(t, s, key)
		}
		id := state.OpID{1}
		if err := s.Apply(t.Context(), state.UpdateOp{Key: key, Version: 1, ID: id})[0].Err; !errors.Is(err, state.ErrUnknownOutcome) {
			t.Fatalf("got error %v", err)
		}
		if got := get(t, s, key); got.LastOp != id {
			t.Error("after an unknown outcome LastOp is that of an old copy")
		}
	})
}

// amnesic is a store that writes, does not know whether it did, and whose watch
// has nothing to say.
type amnesic struct{ state.Store }

func (a *amnesic) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := a.Store.Apply(ctx, ops...)
	for i := range results {
		results[i] = state.Result{Err: state.ErrUnknownOutcome}
	}
	return results
}

func (a *amnesic) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	opts.Namespace = "elsewhere"
	return a.Store.Watch(ctx, opts)
}

// When a cache cannot be told of a write it is not believed about the record.
func TestCacheThatWasNotToldIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failures []string
		numb := &numb{Cache: newCache(t)}
		r := newRig(t, deaf, tiered.Options{
			Staleness: time.Hour, Beat: time.Hour,
			Tiers:   []tiered.Tier{{Cache: numb, Shared: true}},
			OnError: func(tier string, err error) { failures = append(failures, tier+": "+err.Error()) },
		})
		key := r.served()
		update(t, r.store, key, 1, `1`)
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after the update: version %d", got.Version)
		}
		if want := []string{"l1: " + errBroken.Error()}; !slices.Equal(failures, want) {
			t.Errorf("told of errors %v, want %v", failures, want)
		}
	})
}

// numb is a cache that cannot be told anything.
type numb struct{ state.Cache }

func (*numb) Invalidate(context.Context, state.Key, uint64) error { return errBroken }

// Many doubts at once are no reason to believe any copy.
func TestManyDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, deaf, tiered.Options{Staleness: time.Hour, Beat: time.Hour})
		key := r.served()
		update(t, r.below, key, 1, `1`)
		r.store.Apply(t.Context(), state.UpdateOp{Key: key, Version: 1})
		for range 5000 {
			r.store.Apply(t.Context(), state.TouchOp{Key: newKey(t), Idle: time.Hour})
		}
		if got := get(t, r.store, key); got.Version != 2 {
			t.Errorf("after a conflict and many others: version %d", got.Version)
		}
	})
}

// A Get that begins after a write was acknowledged returns it or a newer one,
// with fills and writes racing.
func TestOwnWritesAreReadAtOnce(t *testing.T) {
	s := open(t, openMemory(t, nil), tiered.Options{
		Tiers: []tiered.Tier{{Cache: newCache(t)}, {Cache: newCache(t), Shared: true}},
	})
	key := create(t, s)
	var acked atomic.Uint64
	acked.Store(1)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				least := acked.Load()
				r, err := s.Get(t.Context(), key)
				if err != nil || r.Version < least {
					t.Errorf("read version %d (%v) after %d was acknowledged", r.Version, err, least)
					return
				}
			}
		})
	}
	for v := uint64(1); v < 3000; v++ {
		update(t, s, key, v, `1`)
		acked.Store(v + 1)
		if v%7 == 0 {
			do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
		}
	}
	cancel()
	wg.Wait()
}

func TestOnlySoManyNamespacesAreWatched(t *testing.T) {
	below := &countingWatch{Store: openMemory(t, nil)}
	s := open(t, below, tiered.Options{})
	for i := range tiered.MaxNamespaces + 50 {
		key := newKey(t)
		key.Namespace = fmt.Sprintf("n%d", i)
		if !isGone(t, s, key) {
			t.Fatal("found what is not there")
		}
	}
	for _, ns := range []string{"", "Not A Name"} {
		if _, err := s.Get(t.Context(), state.Key{Namespace: ns, Ref: newKey(t).Ref}); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("namespace %q: %v", ns, err)
		}
	}
	eventually(t, "a watch of each", func() bool { return below.n.Load() == tiered.MaxNamespaces })
}

type countingWatch struct {
	state.Store
	n atomic.Int64
}

func (c *countingWatch) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	c.n.Add(1)
	return c.Store.Watch(ctx, opts)
}

func TestGuaranteesAddTheBound(t *testing.T) {
	below := openMemory(t, nil)
	s := open(t, below, tiered.Options{Staleness: 7 * time.Second})
	want := below.Guarantees()
	want.Staleness += 7 * time.Second
	if got := s.Guarantees(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	c := newCache(t)
	for name, opts := range map[string]tiered.Options{
		"NoTier":        {},
		"NilCache":      {Tiers: []tiered.Tier{{}}},
		"TooManyTiers":  {Tiers: slices.Repeat([]tiered.Tier{{Cache: c}}, tiered.MaxTiers+1)},
		"TooShort":      {Tiers: []tiered.Tier{{Cache: c}}, Staleness: time.Microsecond},
		"NegativeBound": {Tiers: []tiered.Tier{{Cache: c}}, Staleness: -time.Second},
	} {
		if _, err := tiered.New(memory.New(memory.Options{}), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestStoreWithoutEventsRefusesThem(t *testing.T) {
	s := open(t, &cable{Store: openMemory(t, nil)}, tiered.Options{})
	key := newKey(t)
	_, _, err := s.Tail(t.Context(), key, "")
	for _, e := range s.Read(t.Context(), key, "", 0) {
		err = errors.Join(err, e)
	}
	for _, err := range []error{err, s.Append(t.Context(), key, 0), s.Trim(t.Context(), key, state.EventBounds{})} {
		if !errors.Is(err, state.ErrUnsupported) {
			t.Errorf("got %v, want %v", err, state.ErrUnsupported)
		}
	}
}
