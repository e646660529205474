package state_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestRefHasItsRoutingByteAndRandomBytes(t *testing.T) {
	random := []byte("0123456789abcdef")
	ref, err := state.NewRef(0xa7, bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	if ref.Routing() != 0xa7 || !bytes.Equal(ref.Bytes(), append([]byte{0xa7}, random...)) {
		t.Errorf("got %x", ref.Bytes())
	}
	if len(ref.String()) != 28 || strings.Trim(ref.String(), "0123456789abcdefghijklmnopqrstuv") != "" {
		t.Errorf("text form %q", ref)
	}
	if b, err := ref.AppendBinary([]byte("x")); err != nil || !bytes.Equal(b, append([]byte("x"), ref.Bytes()...)) {
		t.Errorf("appended %x, %v", b, err)
	}
	ref.Bytes()[0] = 0
	if ref.Routing() != 0xa7 {
		t.Error("Bytes returns the ref's own bytes")
	}
}

func TestNewRefFailsWithItsSource(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"error": iotest.ErrReader(io.ErrClosedPipe),
		"short": bytes.NewReader(make([]byte, 15)),
	} {
		if ref, err := state.NewRef(1, r); err == nil || !ref.IsZero() {
			t.Errorf("%s: got %v, %v", name, ref, err)
		}
	}
}

func drawRef(t *rapid.T, name string) state.Ref {
	b := rapid.SliceOfN(rapid.Byte(), 17, 17).Filter(func(b []byte) bool {
		return bytes.Trim(b, "\x00") != nil
	}).Draw(t, name)
	ref, err := state.RefFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestTextOrdersAsBytesDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRef(t, "a"), drawRef(t, "b")
		if rapid.Bool().Draw(t, "share a beginning") {
			mixed := append(a.Bytes()[:9:9], b.Bytes()[9:]...)
			b, _ = state.RefFromBytes(mixed)
		}
		want := bytes.Compare(a.Bytes(), b.Bytes())
		if got := strings.Compare(a.String(), b.String()); got != want {
			t.Errorf("text of %v and %v: %d, bytes: %d", a, b, got, want)
		}
		if got := a.Compare(b); got != want {
			t.Errorf("Compare of %v and %v: %d, bytes: %d", a, b, got, want)
		}
	})
}

func TestRefsSurviveTextBytesAndJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := drawRef(t, "ref")
		if got, err := state.ParseRef(ref.String()); err != nil || got != ref {
			t.Errorf("text: %v, %v", got, err)
		}
		if got, err := state.RefFromBytes(ref.Bytes()); err != nil || got != ref {
			t.Errorf("bytes: %v, %v", got, err)
		}
		b, err := json.Marshal(map[state.Ref]state.Ref{ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		var got map[state.Ref]state.Ref
		if err := json.Unmarshal(b, &got); err != nil || got[ref] != ref {
			t.Errorf("JSON: %s, %v", b, err)
		}
	})
}

func TestOnlyTheCanonicalTextIsARef(t *testing.T) {
	good := refOf(t, 7, 1, 2, 3).String()
	if _, err := state.ParseRef(good); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"zero":             strings.Repeat("0", 28),
		"short":            good[:27],
		"long":             good + "0",
		"upper case":       strings.ToUpper(refOf(t, 0xff, 0xff).String()),
		"unused bits":      good[:27] + "1",
		"padding":          good[:27] + "=",
		"foreign letter":   good[:27] + "w",
		"space":            " " + good[1:],
		"line break":       good[:10] + "\n" + good[11:],
		"line break added": good[:10] + "\r\n" + good[10:],
		"nul":              good[:27] + "\x00",
		"dash":             "-" + good[1:],
		"wide":             good[:25] + "０",
		"only line breaks": strings.Repeat("\n", 28),
		"very long":        strings.Repeat(good, 10_000),
	} {
		ref, err := state.ParseRef(text)
		if !errors.Is(err, state.ErrMalformedRef) || !ref.IsZero() {
			t.Errorf("%s: got %v, %v", name, ref, err)
			continue
		}
		if len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats the text", name)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 16), make([]byte, 17), make([]byte, 18)} {
		if _, err := state.RefFromBytes(b); !errors.Is(err, state.ErrMalformedRef) {
			t.Errorf("%d zero bytes: %v", len(b), err)
		}
	}
}

func TestAFailedUnmarshalLeavesTheRefAlone(t *testing.T) {
	ref := refOf(t, 7, 1)
	if err := ref.UnmarshalText([]byte("nonsense")); err == nil || ref != refOf(t, 7, 1) {
		t.Errorf("got %v, %v", ref, err)
	}
}

func FuzzParseRef(f *testing.F) {
	f.Add(refOf(f, 0, 1).String())
	f.Add(refOf(f, 255, 255, 255).String())
	f.Add(strings.Repeat("v", 28))
	f.Add("\n" + strings.Repeat("0", 27))
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := state.ParseRef(text)
		if err != nil {
			if !errors.Is(err, state.ErrMalformedRef) || !ref.IsZero() {
				t.Fatalf("got %v, %v", ref, err)
			}
			return
		}
		if ref.IsZero() || ref.String() != text {
			t.Fatalf("%q parses as %v", text, ref)
		}
		again, err := state.RefFromBytes(ref.Bytes())
		if err != nil || again != ref {
			t.Fatalf("bytes of %v: %v, %v", ref, again, err)
		}
	})
}
