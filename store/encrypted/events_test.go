package encrypted_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
)

// withEvents returns a record with two streams of three events.
func withEvents(t testing.TB, r *rig) state.Key {
	t.Helper()
	op := creation(t, "alice")
	do(t, r, op)
	for _, stream := range []string{"one", "two"} {
		var events [][]byte
		for i := range 3 {
			events = append(events, fmt.Appendf(nil, "private %s %d", stream, i))
		}
		if err := r.Append(t.Context(), op.Target(), 0, state.EventAppend{Stream: stream, Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	return op.Target()
}

func (r *rig) events(t testing.TB, key state.Key, stream string, from int64) (got []string, err error) {
	t.Helper()
	for ev, failed := range r.Read(t.Context(), key, stream, from) {
		if err != nil {
			t.Fatal("went on after an error")
		}
		if err = failed; err == nil {
			got = append(got, string(ev))
		} else if ev != nil {
			t.Fatalf("yielded %q with an error", ev)
		}
	}
	return got, err
}

func TestEventsAreSealed(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	key := withEvents(t, r)
	got, err := r.events(t, key, "two", 1)
	if err != nil || len(got) != 2 || got[0] != "private two 1" {
		t.Errorf("got %q, %v", got, err)
	}
	for ev, err := range r.inner.Read(t.Context(), key, "two", 0) {
		if err != nil || bytes.Contains(ev, []byte("private")) {
			t.Errorf("stored as %q, %v", ev, err)
		}
	}
}

func TestTamperedEventsAreRefused(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	key := withEvents(t, r)
	other := withEvents(t, r)
	var stored, foreign, second [][]byte
	for _, from := range []struct {
		key    state.Key
		stream string
		into   *[][]byte
	}{{key, "one", &stored}, {key, "two", &second}, {other, "one", &foreign}} {
		for ev, err := range r.inner.Store.Read(t.Context(), from.key, from.stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			*from.into = append(*from.into, ev)
		}
	}
	flip := func(at int) func(int, []byte) []byte {
		return func(i int, ev []byte) []byte {
			if i == 1 {
				ev = bytes.Clone(ev)
				ev[at] ^= 1
			}
			return ev
		}
	}
	replaced := func(with []byte) func(int, []byte) []byte {
		return func(i int, ev []byte) []byte {
			if i == 1 {
				return with
			}
			return ev
		}
	}
	cases := map[string]func(int, []byte) []byte{
		"of another index":  replaced(stored[2]),
		"of another stream": replaced(second[1]),
		"of another record": replaced(foreign[1]),
		"cut short":         replaced(stored[1][:40]),
		"empty":             replaced(nil),
		"plain":             replaced([]byte("planted")),
	}
	for i := range stored[1] {
		cases[fmt.Sprintf("byte %d", i)] = flip(i)
	}
	for name, change := range cases {
		r.refusals()
		r.inner.meddleEvents(change)
		got, err := r.events(t, key, "one", 0)
		if !errors.Is(err, encrypted.ErrTampered) && !errors.Is(err, encrypted.ErrUnknownKey) || len(got) != 1 {
			t.Errorf("%s: got %d events and error %v", name, len(got), err)
		}
		if heard := r.refusals(); len(heard) != 1 || heard[0].Stream != "one" || heard[0].Index != 1 || heard[0].Key != key {
			t.Errorf("%s: OnRefusal heard %+v", name, heard)
		}
	}
}

func TestEventsOfARevokedKeyAreRefused(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	key := withEvents(t, r)
	old := r.ring.Active().ID()
	if _, err := r.ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Append(t.Context(), key, 0, state.EventAppend{Stream: "one", Index: 3, Events: [][]byte{[]byte("new")}}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.events(t, key, "one", 0); err != nil || len(got) != 4 {
		t.Errorf("before: %q, %v", got, err)
	}
	if err := r.ring.Revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if got, err := r.events(t, key, "one", 0); !errors.Is(err, encrypted.ErrRevokedKey) || len(got) != 0 {
		t.Errorf("after: %q, %v", got, err)
	}
	if got, err := r.events(t, key, "one", 3); err != nil || len(got) != 1 {
		t.Errorf("of the new key: %q, %v", got, err)
	}
}

// A store without events is told from one that has none.
func TestEventsOfAStoreThatKeepsNone(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	type onlyStore struct{ state.Store }
	s := wrap(t, onlyStore{r.inner}, r.ring, encrypted.Options{})
	key := creation(t, "").Target()
	errs := map[string]error{
		"append": s.Append(t.Context(), key, 0),
		"trim":   s.Trim(t.Context(), key, state.EventBounds{}),
	}
	_, _, errs["tail"] = s.Tail(t.Context(), key, "s")
	for _, err := range s.Read(t.Context(), key, "s", 0) {
		errs["read"] = err
	}
	for name, err := range errs {
		if !errors.Is(err, state.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
