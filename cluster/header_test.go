package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func someRef(t *rapid.T, name string) state.Ref {
	b := rapid.SliceOfN(rapid.Byte(), refBytes, refBytes).Draw(t, name)
	b[0] |= 1 // not the zero ref
	ref, err := state.RefFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func someEnvelope(t *rapid.T) envelope {
	e := envelope{
		purpose: purpose(rapid.IntRange(0, 1).Draw(t, "purpose")),
		from:    someRef(t, "from"), to: someRef(t, "to"),
		sequence: rapid.Uint64Max(1<<64-2).Draw(t, "sequence"),
		issued:   time.UnixMilli(rapid.Int64Range(0, maxMillis).Draw(t, "issued")).UTC(),
		body:     bodyKind(rapid.IntRange(0, 1).Draw(t, "body")),
	}
	if rapid.Bool().Draw(t, "with a session") {
		e.session = someRef(t, "session")
	}
	switch rapid.IntRange(0, 2).Draw(t, "address") {
	case 1:
		e.client = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
	case 2:
		e.client = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
	}
	if e.body == digested {
		e.digest = sha256.Sum256(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
	}
	return e
}

func TestHeaderReadsAsItWasWritten(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		e := someEnvelope(t)
		text := e.seal(private, "POST", "/mcp?x")
		if len(text) > maxHeader {
			t.Fatalf("%d bytes, more than the longest", len(text))
		}
		got, raw, signature, err := open(text)
		if err != nil || got != e {
			t.Fatalf("%+v became %+v, %v", e, got, err)
		}
		if !ed25519.Verify(public, signed(raw, "POST", "/mcp?x"), signature) {
			t.Fatal("not signed")
		}
		for _, other := range [][2]string{{"POST", "/mcp"}, {"GET", "/mcp?x"}, {"POST /mcp?x", ""}, {"POS", "T /mcp?x"}} {
			if ed25519.Verify(public, signed(raw, other[0], other[1]), signature) && other[0]+" "+other[1] != "POST /mcp?x" {
				t.Fatalf("signed for %q too", other)
			}
		}
	})
}

// FuzzHeader checks that the decoder takes whatever comes, and that what it
// accepts has one form only: else a header could be sent twice in two forms.
func FuzzHeader(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	ref, _ := state.RefFromBytes(bytes.Repeat([]byte{7}, refBytes))
	for _, e := range []envelope{
		{from: ref, to: ref},
		{from: ref, to: ref, session: ref, body: digested, client: netip.MustParseAddr("192.0.2.1"), sequence: 1, issued: time.Unix(1, 0)},
		{from: ref, to: ref, purpose: messaging, body: digested, client: netip.MustParseAddr("2001:db8::1")},
	} {
		f.Add(e.seal(private, "GET", "/"))
	}
	f.Add("")
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		e, raw, signature, err := open(text)
		if err != nil {
			return
		}
		if again := e.appendTo(nil); !bytes.Equal(again, raw) {
			t.Errorf("read %x, would write %x", raw, again)
		}
		if form := base64.RawURLEncoding.EncodeToString(append(raw, signature...)); form != text {
			t.Errorf("%q has another form: %q", text, form)
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add(appendBatch(nil, 7, nil))
	f.Add(appendBatch(nil, 7, []letter{{"topic", []byte("payload")}, {"t", nil}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, letters, err := parseBatch(b)
		if err != nil {
			return
		}
		if again := appendBatch(nil, first, letters); !bytes.Equal(again, b) {
			t.Errorf("read %x, would write %x", b, again)
		}
	})
}

func TestWindowAdmitsEachNumberOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		var highest uint64
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			n := rapid.OneOf(
				rapid.Uint64Range(highest-min(highest, 100), highest+100),
				rapid.Uint64Range(highest-min(highest, windowBits+100), highest-min(highest, windowBits-100)),
				rapid.Uint64Range(highest, highest+3*windowBits),
				rapid.Uint64Max(1<<62),
			).Draw(t, "number")
			old := highest >= windowBits && n <= highest-windowBits
			if got, want := w.admit(n), !seen[n] && !old; got != want {
				t.Fatalf("number %d with highest %d: %v, want %v", n, highest, got, want)
			}
			seen[n] = true
			highest = max(highest, n)
		}
	})
}
