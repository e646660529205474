package encrypted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func testStore(t testing.TB) *Store {
	t.Helper()
	ring, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(memory.New(memory.Options{}), ring, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func drawRecord(t *rapid.T) state.Record {
	some := func(name string, n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) }
	text := func(name string, limit int) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, limit).Draw(t, name))
	}
	r := state.Record{
		Namespace: rapid.SampledFrom([]string{"a", "b.c"}).Draw(t, "namespace"), Kind: "session", User: text("user", 512),
		Meta: state.Metadata{UserAgent: text("agent", 60), ProtocolVersion: text("protocol", 20)},
		Data: map[string]json.RawMessage{},
	}
	ref, err := state.NewRef(1, bytes.NewReader(append(some("ref", 15), 1)))
	if err != nil {
		t.Fatal(err)
	}
	r.Ref = ref
	r.Version = rapid.Uint64Range(1, 1<<40).Draw(t, "version")
	r.Created = time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "created")).UTC()
	copy(r.Secret.Hash[:], some("hash", 32))
	if rapid.Bool().Draw(t, "rotated") {
		copy(r.Secret.Previous[:], some("previous", 32))
	}
	if rapid.Bool().Draw(t, "addressed") {
		r.Meta.Address = netip.AddrFrom4([4]byte(some("address", 4)))
	}
	for k, v := range rapid.MapOfN(rapid.String(), rapid.SliceOf(rapid.Byte()), 0, 8).Draw(t, "data") {
		if len(k) <= state.MaxKeyBytes {
			r.Data[k] = v
		}
	}
	return r
}

// sealOf returns the inner record of r.
func sealOf(t interface{ Fatal(...any) }, s *Store, r state.Record, exact bool) state.Record {
	inner := r
	inner.User = s.users.token(r.Namespace, r.User)
	inner.Meta, inner.Data = state.Metadata{}, nil
	b := bindingOf(&inner)
	sealed, err := s.seal(&b, r.Created, exact, &r)
	if err != nil {
		t.Fatal(err)
	}
	inner.Sealed = sealed
	return inner
}

func TestWhatIsSealedIsOpenedAndNothingElse(t *testing.T) {
	s := testStore(t)
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		inner := sealOf(t, s, want, rapid.Bool().Draw(t, "exact"))
		got := inner
		if cause := s.openContent(&got); cause != nil {
			t.Fatalf("refused: %v %s", cause.err, cause.why)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		for _, part := range []string{want.User, want.Meta.UserAgent} {
			if len(part) > 6 && bytes.Contains(inner.Sealed, []byte(part)) {
				t.Fatalf("%q shows", part)
			}
		}
		changed := inner
		changed.Sealed = bytes.Clone(inner.Sealed)
		i := rapid.IntRange(0, len(changed.Sealed)-1).Draw(t, "byte")
		changed.Sealed[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if s.openContent(&changed) == nil {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
	})
}

// Nothing of what a message was leaves with the memory it was opened in.
func TestScratchesAreCleared(t *testing.T) {
	mem := &scratch{plain: []byte("alice")}
	kept := mem.plain
	mem.release()
	if !bytes.Equal(kept, make([]byte, 5)) {
		t.Errorf("%q is left", kept)
	}
}

// FuzzOpen: whatever stands in the inner store, opening it neither panics nor
// returns anything, unless it is what was sealed.
func FuzzOpen(f *testing.F) {
	s := testStore(f)
	r := state.Record{
		Namespace: "n", Kind: "session", User: "alice", Data: map[string]json.RawMessage{"k": json.RawMessage(`1`)},
		Stamp: state.Stamp{Version: 3, Created: time.UnixMilli(1_785_000_000_000).UTC()},
	}
	r.Ref, _ = state.NewRef(1, bytes.NewReader(make([]byte, 16)))
	inner := sealOf(f, s, r, true)
	id := s.ring.Active().ID()
	f.Add(inner.Sealed)
	f.Add(inner.Sealed[:envelopeSize])
	f.Add((&envelope{keyID: id}).append(nil))
	f.Add((&envelope{keyID: "\x00\x00x"}).append(nil))
	f.Add(append((&envelope{keyID: id}).append(nil), make([]byte, 60)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got := inner
		got.Sealed = sealed
		err := s.open(context.Background(), &got, time.Now())
		switch {
		case bytes.Equal(sealed, inner.Sealed) && err == nil && got.User == "alice":
		case err == nil:
			t.Fatalf("opened %x", sealed)
		case !errors.Is(err, ErrTampered) && !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrNotSealed):
			t.Fatal(err)
		case got.Version != 0 || got.Data != nil || got.User != "":
			t.Fatalf("refused, and yet returned %+v", got)
		}
		if ev, cause := s.unsealEvent(inner.Key(), "s", 0, sealed); cause == nil {
			t.Fatalf("opened as an event: %q", ev)
		}
	})
}
