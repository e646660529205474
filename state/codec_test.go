package state_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

var update = flag.Bool("update", false, "write the golden files of the newest format")

var day = time.Date(2026, 7, 28, 9, 30, 0, 123_000_000, time.UTC)

func refOf(t testing.TB, first byte, rest ...byte) state.Ref {
	t.Helper()
	b := make([]byte, 17)
	b[0] = first
	copy(b[1:], rest)
	ref, err := state.RefFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// goldenRecords are records whose binary form is kept in testdata.
func goldenRecords(t testing.TB) map[string]state.Record {
	bare := state.Record{
		Namespace: "default", Kind: "basket", Ref: refOf(t, 0, 1),
		Stamp: state.Stamp{
			Version: 1, Revision: 1,
			Created: day, LastAccessed: day, IdleDeadline: day.Add(time.Hour), AbsoluteDeadline: day.Add(time.Hour),
		},
		Data: map[string]json.RawMessage{},
	}
	full := state.Record{
		Namespace: "shop", Kind: "session", Ref: refOf(t, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
		User: "https://issuer.example/\x00\xffalice",
		Stamp: state.Stamp{
			Version: 300, Revision: 70_000, Epoch: 5,
			Created: day, LastAccessed: day.Add(time.Minute),
			IdleDeadline: day.Add(2 * time.Hour), AbsoluteDeadline: day.Add(24 * time.Hour),
		},
		Secret: state.Secret{Hash: state.Hash{1, 2}, Previous: state.Hash{3, 4}, PreviousUntil: day.Add(30 * time.Second)},
		Meta: state.Metadata{
			Address: netip.MustParseAddr("2001:db8::7"), UserAgent: "inspector/1.2 (β)",
			ProtocolVersion: "2025-11-25", Capabilities: json.RawMessage(`{"elicitation":{}}`),
		},
		Data: map[string]json.RawMessage{
			"cart":       json.RawMessage(`[{"sku":"apple","n":2}]`),
			"a":          json.RawMessage(`null`),
			"coatcheck:": json.RawMessage(`"é"`),
		},
		Owner:  "replica-1#7",
		LastOp: state.OpID{9, 8, 7},
	}
	mapped := bare
	mapped.User, mapped.Meta.Address = "bob", netip.MustParseAddr("::ffff:192.0.2.1")
	mapped.IdleDeadline, mapped.LastAccessed = day.Add(-time.Hour), day.Add(-2*time.Hour) // before Created
	sealed := bare
	sealed.Meta.Capabilities, sealed.Sealed = json.RawMessage(`{}`), []byte("\x01\x00opaque\xff")
	sealed.Data = map[string]json.RawMessage{"k": json.RawMessage(`1`)}
	v4 := bare
	v4.Meta.Address = netip.MustParseAddr("192.0.2.1")
	return map[string]state.Record{"bare": bare, "full": full, "mapped": mapped, "v4": v4, "sealed": sealed}
}

func encode(t testing.TB, r state.Record) []byte {
	t.Helper()
	b, err := state.AppendRecord(nil, &r)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}

func TestGoldenFilesOfTheNewestFormat(t *testing.T) {
	for name, r := range goldenRecords(t) {
		path := filepath.Join("testdata", "record.1."+name+".hex")
		got := encode(t, r)
		if *update {
			if err := os.WriteFile(path, toHex(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := fromHex(t, path); !bytes.Equal(got, want) {
			t.Errorf("%s: the form has changed; a change needs a new format\n got %x\nwant %x", path, got, want)
		}
	}
}

// Every file that was ever written stays readable, whatever wrote it.
func TestGoldenFilesOfAllFormatsAreRead(t *testing.T) {
	paths, err := filepath.Glob("testdata/record.*.hex")
	if err != nil || len(paths) < 4 {
		t.Fatalf("golden files: %v, %v", paths, err)
	}
	want := goldenRecords(t)
	for _, path := range paths {
		name := strings.Split(filepath.Base(path), ".")[2]
		r, err := state.DecodeRecord(fromHex(t, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !reflect.DeepEqual(r, want[name]) {
			t.Errorf("%s:\n got %+v\nwant %+v", path, r, want[name])
		}
	}
}

func toHex(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		n := min(len(b), 32)
		fmt.Fprintf(&out, "%x\n", b[:n])
		b = b[n:]
	}
	return out.Bytes()
}

func fromHex(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

func TestRemainingIsNotEncodedAndTimesAreCut(t *testing.T) {
	r := goldenRecords(t)["full"]
	want := encode(t, r)
	r.Remaining = time.Hour
	r.LastAccessed = r.LastAccessed.Add(999 * time.Microsecond).In(time.FixedZone("east", 3600))
	if got := encode(t, r); !bytes.Equal(got, want) {
		t.Error("Remaining, a zone or less than a millisecond changed the form")
	}
}

func TestAppendRecordAppends(t *testing.T) {
	r := goldenRecords(t)["full"]
	b, err := state.AppendRecord([]byte("before"), &r)
	if err != nil || string(b[:6]) != "before" || !bytes.Equal(b[6:], encode(t, r)) {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestDecodedRecordSharesNothing(t *testing.T) {
	r := goldenRecords(t)["full"]
	b := encode(t, r)
	got, err := state.DecodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	_ = append(got.Meta.Capabilities, "overwritten?"...)
	if !reflect.DeepEqual(got, r) {
		t.Errorf("the record changed with the bytes it was read from: %+v", got)
	}
}

// What was taken over is still the record when values grow in place.
func TestValuesOfAnOwnRecordDoNotOverwriteOneAnother(t *testing.T) {
	for name, want := range goldenRecords(t) {
		b := encode(t, want)
		r, err := state.DecodeOwnRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for k, v := range r.Data {
			_ = append(v, "overwritten"...)
			_ = append(r.Sealed, k...)
		}
		if again := encode(t, r); !bytes.Equal(again, encode(t, want)) {
			t.Errorf("%s: became another record", name)
		}
	}
}

func TestWhatIsCutShortOrTooLongIsCorrupt(t *testing.T) {
	for name, r := range goldenRecords(t) {
		b := encode(t, r)
		for n := range len(b) {
			if _, err := state.DecodeRecord(b[:n]); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(b), err)
			}
		}
		if _, err := state.DecodeRecord(append(b, 0)); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s with a byte behind it: %v", name, err)
		}
	}
}

func TestUnknownFormatsAreCorrupt(t *testing.T) {
	b := encode(t, goldenRecords(t)["bare"])
	for _, format := range []byte{0, 2, 255} {
		b[0] = format
		if _, err := state.DecodeRecord(b); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("format %d: %v", format, err)
		}
	}
}

// One record, one form: what decodes encodes to the same bytes. That covers
// long numbers, unknown flags, announced zeros and unsorted keys.
func TestEveryChangedByteIsRefusedOrAnotherRecord(t *testing.T) {
	records := goldenRecords(t)
	sparse := records["bare"]
	sparse.Secret.Hash, sparse.Secret.Previous, sparse.LastOp = state.Hash{1}, state.Hash{2}, state.OpID{4}
	// A bit less, and it announces zeros or has a key twice.
	sparse.Data = map[string]json.RawMessage{"b": json.RawMessage(`1`), "c": json.RawMessage(`2`)}
	records["sparse"] = sparse
	for name, r := range records {
		b := encode(t, r)
		for i := range b {
			for bit := range 8 {
				changed := bytes.Clone(b)
				changed[i] ^= 1 << bit
				got, err := state.DecodeRecord(changed)
				if err != nil {
					if !errors.Is(err, state.ErrCorrupt) {
						t.Errorf("%s: byte %d: %v", name, i, err)
					}
					continue
				}
				if again := encode(t, got); !bytes.Equal(again, changed) {
					t.Errorf("%s: byte %d bit %d: accepts %x, writes %x", name, i, bit, changed, again)
				}
			}
		}
	}
}

func TestHostileLengthsTakeNoMemory(t *testing.T) {
	b := encode(t, goldenRecords(t)["bare"])
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	for i := 1; i < len(b); i++ {
		hostile := append(append(bytes.Clone(b[:i]), huge...), b[i:]...)
		before := allocated()
		_, _ = state.DecodeRecord(hostile)
		if n := allocated() - before; n > 64<<10 {
			t.Errorf("a huge number at %d of %d bytes: %d bytes allocated", i, len(hostile), n)
		}
	}
}

// Many keys announced, and none that can be read.
func TestHostileNumbersOfKeysTakeNoMemory(t *testing.T) {
	b := encode(t, goldenRecords(t)["bare"])
	b = binary.AppendUvarint(b[:len(b)-1], 100_000)
	b = append(b, bytes.Repeat([]byte{0xff}, 300_000)...)
	before := allocated()
	_, err := state.DecodeRecord(b)
	if n := allocated() - before; n > 1<<20 || !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("%d bytes allocated: %v", n, err)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestUnencodableRecordsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*state.Record){
		"namespace": func(r *state.Record) { r.Namespace = strings.Repeat("n", state.MaxNameBytes+1) },
		"kind":      func(r *state.Record) { r.Kind = strings.Repeat("n", state.MaxNameBytes+1) },
		"ref":       func(r *state.Record) { r.Ref = state.Ref{} },
		"user":      func(r *state.Record) { r.User = strings.Repeat("u", state.MaxUserBytes+1) },
		"owner":     func(r *state.Record) { r.Owner = strings.Repeat("o", state.MaxOwnerBytes+1) },
		"agent":     func(r *state.Record) { r.Meta.UserAgent = strings.Repeat("a", state.MaxAgentBytes+1) },
		"protocol":  func(r *state.Record) { r.Meta.ProtocolVersion = strings.Repeat("a", state.MaxNameBytes+1) },
		"zone":      func(r *state.Record) { r.Meta.Address = netip.MustParseAddr("fe80::1%eth0") },
		"data key": func(r *state.Record) {
			r.Data = map[string]json.RawMessage{strings.Repeat("k", state.MaxKeyBytes+1): json.RawMessage(`1`)}
		},
		"size": func(r *state.Record) {
			r.Data = map[string]json.RawMessage{"k": bytes.Repeat([]byte("1"), state.MaxRecordBytes)}
		},
		"late time":  func(r *state.Record) { r.AbsoluteDeadline = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"early time": func(r *state.Record) { r.Created = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			r := goldenRecords(t)["full"]
			change(&r)
			b, err := state.AppendRecord([]byte("before"), &r)
			if !errors.Is(err, state.ErrTooLarge) && !errors.Is(err, state.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			if string(b) != "before" {
				t.Errorf("the destination is %q", b)
			}
		})
	}
}

func TestTheLargestRecordSurvives(t *testing.T) {
	r := goldenRecords(t)["full"]
	r.Data = map[string]json.RawMessage{}
	// Short keys with short values have the most overhead.
	size := state.Size(&r)
	for i := 0; size < state.MaxRecordBytes-8; i++ {
		k := fmt.Sprintf("%x", i)
		r.Data[k] = json.RawMessage(`1`)
		size += len(k) + 1
	}
	r.Sealed = bytes.Repeat([]byte{0xff}, state.MaxSealedBytes)
	got, err := state.DecodeRecord(encode(t, r))
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%d keys: %v", len(r.Data), err)
	}
}

// A wrapper may seal the binary form of any record that stores accept.
func TestTheLargestFormFitsIntoSealed(t *testing.T) {
	r := state.Record{
		Ref: refOf(t, 1), User: strings.Repeat("u", state.MaxUserBytes),
		Secret: state.Secret{Previous: state.Hash{1}}, Data: map[string]json.RawMessage{},
	}
	for i, size := 0, state.Size(&r); size < state.MaxRecordBytes-8; i++ {
		k := fmt.Sprintf("%x", i)
		r.Data[k] = json.RawMessage(`1`)
		size += len(k) + 1
	}
	const overhead = 512 // a header, nonce and tag
	if n := len(encode(t, r)); n > state.MaxSealedBytes-overhead {
		t.Errorf("a form of %d bytes does not fit into %d", n, state.MaxSealedBytes)
	}
}

func randomRecord(t *rapid.T, ref state.Ref) state.Record {
	moment := func(name string) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 253_402_300_799_999).Draw(t, name)).UTC()
	}
	some := func(name string, n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) }
	text := func(name string, limit int) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, limit).Draw(t, name))
	}
	r := state.Record{
		Namespace: text("namespace", 8), Kind: text("kind", 8), Ref: ref, User: text("user", 200), Owner: text("owner", 200),
		Stamp: state.Stamp{
			Version: rapid.Uint64().Draw(t, "version"), Revision: rapid.Uint64().Draw(t, "revision"),
			Epoch: rapid.Uint64().Draw(t, "epoch"), Created: moment("created"), LastAccessed: moment("accessed"),
			IdleDeadline: moment("idle"), AbsoluteDeadline: moment("absolute"),
		},
		Meta: state.Metadata{UserAgent: text("agent", 200), ProtocolVersion: text("protocol", 20)},
		Data: map[string]json.RawMessage{},
	}
	if rapid.Bool().Draw(t, "secret") {
		copy(r.Secret.Hash[:], some("hash", 32))
		copy(r.LastOp[:], some("op", 16))
	}
	if rapid.Bool().Draw(t, "rotated") {
		copy(r.Secret.Previous[:], some("previous", 32))
		r.Secret.PreviousUntil = moment("until")
	}
	r.Meta.Address, _ = netip.AddrFromSlice(some("address", rapid.SampledFrom([]int{0, 4, 16}).Draw(t, "family")))
	if rapid.Bool().Draw(t, "capable") {
		r.Meta.Capabilities = some("capabilities", rapid.IntRange(0, 300).Draw(t, "length"))
	}
	if rapid.Bool().Draw(t, "is sealed") {
		r.Sealed = some("sealed", rapid.IntRange(1, 300).Draw(t, "sealed length"))
	}
	for k, v := range rapid.MapOfN(rapid.String(), rapid.SliceOf(rapid.Byte()), 0, 20).Draw(t, "data") {
		if len(k) <= state.MaxKeyBytes {
			r.Data[k] = v
		}
	}
	return r
}

func TestRandomRecordsSurvive(t *testing.T) {
	ref := refOf(t, 3, 1, 4, 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		r := randomRecord(t, ref)
		b, err := state.AppendRecord(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := state.DecodeRecord(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v:\n got %+v\nwant %+v", err, got, r)
		}
	})
}

// FuzzDecodeRecord: decoding never panics, and what it accepts is the one form
// of a record.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range goldenRecords(f) {
		f.Add(encode(f, r))
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := state.DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, state.ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		if again := encode(t, r); !bytes.Equal(again, b) {
			t.Fatalf("accepts %x, writes %x", b, again)
		}
	})
}

// FuzzRecordRoundTrip: what AppendRecord accepts comes back.
func FuzzRecordRoundTrip(f *testing.F) {
	f.Add("ns", "session", "alice", "key", []byte(`{"a":1}`), uint64(1), int64(1_785_000_000_000), int64(3_600_000))
	f.Add("", "", "\x00\xff", "", []byte(nil), ^uint64(0), int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, ns, kind, user, key string, value []byte, n uint64, created, idle int64) {
		r := state.Record{
			Namespace: ns, Kind: kind, Ref: refOf(t, 1), User: user, Owner: key,
			Stamp: state.Stamp{
				Version: n, Revision: n / 2, Epoch: n / 3,
				Created: time.UnixMilli(created).UTC(), LastAccessed: time.UnixMilli(idle).UTC(),
				IdleDeadline: time.UnixMilli(created).Add(time.Duration(idle)).UTC().Truncate(time.Millisecond),
			},
			Meta: state.Metadata{UserAgent: ns, Capabilities: bytes.Clone(value)},
			Data: map[string]json.RawMessage{key: append([]byte{}, value...)},
		}
		b, err := state.AppendRecord(nil, &r)
		if err != nil {
			return
		}
		got, err := state.DecodeRecord(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v:\n got %+v\nwant %+v", err, got, r)
		}
	})
}

func BenchmarkDecodeRecord(b *testing.B) {
	form := encode(b, goldenRecords(b)["full"])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := state.DecodeRecord(form); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := goldenRecords(b)["full"]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = state.AppendRecord(buf[:0], &r); err != nil {
			b.Fatal(err)
		}
	}
}
