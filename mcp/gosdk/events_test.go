package gosdk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func ref(t testing.TB) state.Ref {
	t.Helper()
	r, err := state.NewRef(1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keyOf(r state.Ref) state.Key { return state.Key{Namespace: "default", Ref: r} }

// flaky is an event store whose appends fail now and then, before or after
// they took effect.
type flaky struct {
	state.EventStore
	before, after bool
}

func (f *flaky) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if f.before {
		return state.ErrUnavailable
	}
	if err := f.EventStore.Append(ctx, key, epoch, appends...); err != nil || !f.after {
		return err
	}
	return state.ErrUnknownOutcome
}

// TestEventsAgainstAModel: whatever happens, a client that resumes gets exactly
// the events behind its last one, in order, or is told that they are not kept.
func TestEventsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store := memory.New(memory.Options{})
		defer store.Close()
		manager, err := session.NewManager(store, session.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		s, err := manager.Create(context.Background(), session.CreateRequest{})
		if err != nil {
			rt.Fatal(err)
		}
		f := &flaky{EventStore: store}
		opts := &Options{EventBounds: state.EventBounds{Bytes: 1 << 20, Age: time.Hour}, Logger: discardLogger()}
		var saving tasks
		settle := func() {
			if !saving.wait(patience) {
				rt.Fatal("storing goes on for ever")
			}
		}
		open := func() *events { return newEvents(f, keyOf(s.Ref), 0, opts, saving.run) }
		e := open()
		ctx := context.Background()

		// The model: every event of each stream, and whether it must be kept.
		model := map[string][]string{"": nil}
		streams := []string{""}
		lossy := map[string]bool{} // some of it may have been lost in a crash
		write := func(name string) {
			data := fmt.Sprintf(`{"jsonrpc":"2.0","method":"n%d"}`, len(model[name]))
			if err := e.Append(ctx, "", name, []byte(data)); err == nil {
				model[name] = append(model[name], data)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"open": func(rt *rapid.T) {
				name := fmt.Sprint("s", len(streams))
				if err := e.Open(ctx, "", name); err != nil {
					rt.Fatal(err)
				}
				streams = append(streams, name)
				model[name] = nil
			},
			"write": func(rt *rapid.T) {
				name := rapid.SampledFrom(streams).Draw(rt, "stream")
				e.mu.Lock()
				known := e.named(name) != nil
				e.mu.Unlock()
				if known {
					write(name)
					settle()
				}
			},
			"leave": func(rt *rapid.T) {
				name := rapid.SampledFrom(streams).Draw(rt, "stream")
				e.mu.Lock()
				s := e.streams[name]
				e.mu.Unlock()
				e.requestOver(&exchange{Context: ctx, stream: s}, false, false)
				settle()
			},
			"outage": func(rt *rapid.T) {
				f.before = rapid.Bool().Draw(rt, "before")
				f.after = rapid.Bool().Draw(rt, "after")
			},
			"tend": func(*rapid.T) {
				e.tend(ctx, time.Now())
				settle()
			},
			"put away": func(rt *rapid.T) {
				if err := e.flush(ctx); err != nil {
					if !f.before && !f.after {
						rt.Fatalf("nothing is wrong with the store, but: %v", err)
					}
					return // stays live
				}
				e.stop()
				e = open()
			},
			"crash": func(rt *rapid.T) {
				e.stop()
				e = open()
				for _, name := range streams {
					lossy[name] = true
				}
				// What of the standalone stream was not stored had its index
				// given to a client, if at all, by the process that is gone.
				f.before, f.after = false, false
				_, next, err := store.Tail(ctx, keyOf(s.Ref), "")
				if err != nil {
					rt.Fatal(err)
				}
				model[""] = model[""][:next]
			},
			"": func(rt *rapid.T) {
				for _, name := range streams {
					for from := range len(model[name]) + 1 {
						checkReplay(rt, e, name, model[name], from, lossy[name])
					}
				}
			},
		})
	})
}

// checkReplay replays behind the index from-1.
func checkReplay(rt *rapid.T, e *events, name string, want []string, from int, lossy bool) {
	var got []string
	for data, err := range e.After(context.Background(), "", name, from-1) {
		if errors.Is(err, state.ErrTrimmed) && lossy {
			return
		}
		if err != nil {
			if len(want) == 0 || !stillKnown(e, name) && len(want) == from {
				return // a stream without events is like one that never was
			}
			rt.Fatalf("stream %q from %d of %d: %v", name, from, len(want), err)
		}
		got = append(got, string(data))
	}
	expect := want[from:]
	if lossy && name != "" && len(got) < len(expect) {
		expect = expect[:len(got)]
	}
	if fmt.Sprint(got) != fmt.Sprint(expect) {
		rt.Fatalf("stream %q from %d: got %v, want %v", name, from, got, expect)
	}
}

func stillKnown(e *events, name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.named(name) != nil
}

func TestAnEventThatIsTooLargeIsNotKeptButOthersAre(t *testing.T) {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := manager.Create(context.Background(), session.CreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	opts := &Options{EventBounds: state.EventBounds{Bytes: 64 << 20, Age: time.Hour}, Logger: discardLogger()}
	e := newEvents(store, keyOf(s.Ref), 0, opts, func(do func()) { do() })
	ctx := context.Background()
	for _, data := range [][]byte{[]byte("a"), make([]byte, state.MaxEventBytes+1), []byte("b")} {
		if err := e.Append(ctx, "", "", data); err != nil {
			t.Fatal(err)
		}
	}
	first, next, err := store.Tail(ctx, keyOf(s.Ref), "")
	if err != nil || first != 2 || next != 3 {
		t.Errorf("the store has %d to %d, %v", first, next, err)
	}
	for data, err := range e.After(ctx, "", "", 1) {
		if err != nil || string(data) != "b" {
			t.Errorf("got %q, %v", data, err)
		}
	}
	for _, err := range e.After(ctx, "", "", 0) {
		if !errors.Is(err, state.ErrTrimmed) {
			t.Errorf("resuming before what is not kept: %v", err)
		}
	}
}

// TestAnAppendWhoseAnswerWasLost: the events are in the store, and those that
// follow go there too.
func TestAnAppendWhoseAnswerWasLost(t *testing.T) {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := manager.Create(context.Background(), session.CreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{EventStore: store, after: true}
	opts := &Options{EventBounds: state.EventBounds{Bytes: 1 << 20, Age: time.Hour}, Logger: discardLogger()}
	var saving tasks
	e := newEvents(f, keyOf(s.Ref), 0, opts, saving.run)
	ctx := context.Background()
	for i, data := range []string{"a", "b", "c"} {
		f.after = i < 2
		if err := e.Append(ctx, "", "", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if _, next, err := store.Tail(ctx, keyOf(s.Ref), ""); err != nil || next != 3 {
		t.Errorf("the store goes on at %d, %v", next, err)
	}
	if err := e.flush(ctx); err != nil {
		t.Error(err)
	}
}
