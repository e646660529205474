package statetest

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An eventMutant is an event store that breaks the contract in one way.
type eventMutant struct {
	state.Store
	state.EventStore
	append func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error
	read   func(ctx context.Context, s state.EventStore, k state.Key, stream string, from int64) iter.Seq2[[]byte, error]
	trim   func(ctx context.Context, s state.EventStore, k state.Key, keep state.EventBounds) error
}

func (m *eventMutant) Append(ctx context.Context, k state.Key, epoch uint64, appends ...state.EventAppend) error {
	if m.append != nil {
		return m.append(ctx, m.EventStore, k, epoch, appends)
	}
	return m.EventStore.Append(ctx, k, epoch, appends...)
}

func (m *eventMutant) Read(ctx context.Context, k state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	if m.read != nil {
		return m.read(ctx, m.EventStore, k, stream, from)
	}
	return m.EventStore.Read(ctx, k, stream, from)
}

func (m *eventMutant) Trim(ctx context.Context, k state.Key, keep state.EventBounds) error {
	if m.trim != nil {
		return m.trim(ctx, m.EventStore, k, keep)
	}
	return m.EventStore.Trim(ctx, k, keep)
}

func TestBrokenEventStoresAreCaught(t *testing.T) {
	skipShort(t)
	for name, c := range map[string]struct {
		make   func() *eventMutant
		caught []string
	}{
		"TakesAnyIndex": {takesAnyIndex, []string{"Append/ContinuesOnlyAtTheNextIndex", "EventRace/EachIndexIsTakenOnce"}},
		"IgnoresEpochs": {func() *eventMutant {
			return &eventMutant{append: func(ctx context.Context, s state.EventStore, k state.Key, _ uint64, appends []state.EventAppend) error {
				return s.Append(ctx, k, 0, appends...)
			}}
		}, []string{"Append/RefusesStaleEpoch", "EventRace/FencedWriterStops"}},
		"AppendsOneByOne": {func() *eventMutant {
			return &eventMutant{append: func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error {
				for _, a := range appends {
					if err := s.Append(ctx, k, epoch, a); err != nil {
						return err
					}
				}
				return nil
			}}
		}, []string{"Append/IsOneStep"}},
		"DropsEmptyEvents":    {dropsEmptyEvents, []string{"Append/KeepsBytes"}},
		"FoldsStreams":        {foldsStreams, []string{"Append/SeparatesStreams"}},
		"ReadsPastWhatIsGone": {readsPast, []string{"Skip/StartsAnew", "Trim/KeepsTheNewestBytes", "Trim/KnowsTheLastIndex"}},
		"ReadsOneTooFar": {func() *eventMutant {
			return &eventMutant{read: func(ctx context.Context, s state.EventStore, k state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
				return s.Read(ctx, k, stream, from+1)
			}}
		}, []string{"Append/IsReadBack", "Read/StartsAtTheIndex"}},
		"ReadsWhatComes":    {readsWhatComes, []string{"Read/YieldsWhatWasThere"}},
		"KeepsEventsOfGone": {keepsEvents, []string{"End/GoWithADeletedRecord", "End/GoWithAnEvictedRecord", "End/GoWithAnExpiredRecord"}},
		"TrimsNothing":      {trims(func(k *state.EventBounds) { *k = state.EventBounds{} }), []string{"Trim/KeepsTheNewestBytes", "Trim/KeepsTheYoung", "Trim/CountsAllStreams"}},
		"IgnoresAge":        {trims(func(k *state.EventBounds) { k.Age = 0 }), []string{"Trim/KeepsTheYoung"}},
		"TakesNoBoundForNone": {trims(func(k *state.EventBounds) {
			if k.Bytes == 0 {
				k.Bytes = 1
			}
		}), []string{"Trim/WithoutBoundsKeepsAll", "Trim/KeepsTheYoung"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, check := range c.caught {
				open := func(tb testing.TB, clock *Clock) state.Store {
					m := c.make()
					m.Store = openMemory(tb, clock)
					m.EventStore = m.Store.(state.EventStore)
					return m
				}
				r := recordCheck(t, eventGroups(), check, Harness{Open: open})
				if !r.Failed() {
					t.Errorf("%s did not notice; it said: %s", check, r.text())
				}
				t.Logf("%s: %.200s", check, r.text())
			}
		})
	}
}

func takesAnyIndex() *eventMutant {
	return &eventMutant{append: func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error {
		for {
			err := s.Append(ctx, k, epoch, appends...)
			if !errors.Is(err, state.ErrConflict) {
				return err
			}
			for i := range appends {
				_, next, err := s.Tail(ctx, k, appends[i].Stream)
				if err != nil {
					return err
				}
				appends[i].Index = next
			}
		}
	}}
}

func dropsEmptyEvents() *eventMutant {
	return &eventMutant{append: func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error {
		for i := range appends {
			var full [][]byte
			for _, ev := range appends[i].Events {
				if len(ev) > 0 {
					full = append(full, ev)
				}
			}
			appends[i].Events = full
		}
		return s.Append(ctx, k, epoch, appends...)
	}}
}

func foldsStreams() *eventMutant {
	return &eventMutant{append: func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error {
		for i := range appends {
			appends[i].Stream = strings.ToLower(appends[i].Stream)
		}
		return s.Append(ctx, k, epoch, appends...)
	}}
}

func readsPast() *eventMutant {
	return &eventMutant{read: func(ctx context.Context, s state.EventStore, k state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
		if first, _, err := s.Tail(ctx, k, stream); err == nil {
			from = max(from, first)
		}
		return s.Read(ctx, k, stream, from)
	}}
}

// readsWhatComes reads event by event.
func readsWhatComes() *eventMutant {
	return &eventMutant{read: func(ctx context.Context, s state.EventStore, k state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for ; ; from++ {
				got := false
				for ev, err := range s.Read(ctx, k, stream, from) {
					if !yield(ev, err) || err != nil {
						return
					}
					got = true
					break
				}
				if !got {
					return
				}
			}
		}
	}}
}

// keepsEvents serves what was appended once, whatever became of the record.
func keepsEvents() *eventMutant {
	var mu sync.Mutex
	kept := map[state.Key][][]byte{}
	return &eventMutant{
		append: func(ctx context.Context, s state.EventStore, k state.Key, epoch uint64, appends []state.EventAppend) error {
			err := s.Append(ctx, k, epoch, appends...)
			mu.Lock()
			defer mu.Unlock()
			for _, a := range appends {
				if err == nil {
					kept[k] = append(kept[k], a.Events...)
				}
			}
			return err
		},
		read: func(_ context.Context, _ state.EventStore, k state.Key, _ string, _ int64) iter.Seq2[[]byte, error] {
			mu.Lock()
			events := kept[k]
			mu.Unlock()
			return func(yield func([]byte, error) bool) {
				for _, ev := range events {
					if !yield(ev, nil) {
						return
					}
				}
			}
		},
	}
}

func trims(change func(*state.EventBounds)) func() *eventMutant {
	return func() *eventMutant {
		return &eventMutant{trim: func(ctx context.Context, s state.EventStore, k state.Key, keep state.EventBounds) error {
			change(&keep)
			return s.Trim(ctx, k, keep)
		}}
	}
}
