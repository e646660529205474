package encrypted_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// private is what must not be found in a dump, in any of these forms.
func private() map[string][]byte {
	texts := []string{
		"https://issuer.example/alice", "198.51.100.203", "secret-agent/7.1", "2025-06-18", "elicitation",
		"PRIVATE-DATA", "private-key", "SECOND-DATA", "PRIVATE-EVENT",
	}
	forms := map[string][]byte{}
	for _, s := range texts {
		b := []byte(s)
		forms[s] = b
		forms[s+" in hex"] = []byte(hex.EncodeToString(b))
		for skip := range 3 { // base64 of it looks three ways, by where it starts
			if len(b) > skip+9 {
				part := b[skip : skip+(len(b)-skip)/3*3]
				forms[fmt.Sprintf("%s in base64 from %d", s, skip)] = []byte(base64.StdEncoding.EncodeToString(part))
			}
		}
	}
	address := netip.MustParseAddr("198.51.100.203").As4()
	forms["address as bytes"] = address[:]
	return forms
}

// use does all that leaves something in a store.
func use(t *testing.T, s *encrypted.Store) {
	t.Helper()
	const user = "https://issuer.example/alice"
	for i := range 20 {
		op := creation(t, user)
		op.Limit.PerUser = 15
		op.Record.Meta = state.Metadata{
			Address: netip.MustParseAddr("198.51.100.203"), UserAgent: "secret-agent/7.1",
			ProtocolVersion: "2025-06-18", Capabilities: json.RawMessage(`{"elicitation":{}}`),
		}
		op.Record.Data = map[string]json.RawMessage{"private-key": json.RawMessage(`"PRIVATE-DATA PRIVATE-DATA"`)}
		do(t, s, op)
		key := op.Target()
		do(t, s, state.UpdateOp{Key: key, Version: 1, Data: map[string]json.RawMessage{"private-key": json.RawMessage(`["SECOND-DATA"]`)}})
		do(t, s, state.UpdateOp{Key: key, Version: 2, Meta: &op.Record.Meta, Rotate: &state.Rotation{Hash: state.Hash{1}, Grace: time.Hour}})
		do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
		do(t, s, state.SetOwnerOp{Key: key, Owner: "replica-1"})
		if err := s.Append(t.Context(), key, 0, state.EventAppend{Stream: "s", Events: [][]byte{[]byte("data: PRIVATE-EVENT\n\n")}}); err != nil {
			t.Fatal(err)
		}
		imported := get(t, s, key)
		imported.Ref = newRef(t)
		do(t, s, state.ImportOp{Record: imported})
		if i%4 == 0 {
			do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
		}
	}
}

func search(t *testing.T, where string, dump []byte) {
	t.Helper()
	for what, form := range private() {
		if bytes.Contains(dump, form) {
			t.Errorf("%s has %s", where, what)
		}
	}
}

func TestDumpOfMemoryTellsNothing(t *testing.T) {
	inner := memory.New(memory.Options{})
	s := wrap(t, inner, newRing(t), encrypted.Options{})
	use(t, s)
	var dump []byte
	n := 0
	for r, err := range inner.List(t.Context(), state.Query{Namespace: namespace}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		form, err := state.AppendRecord(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		dump = append(append(dump, form...), text...)
		for ev, err := range inner.Read(t.Context(), r.Key(), "s", 0) {
			if err != nil {
				t.Fatal(err)
			}
			dump = append(dump, ev...)
		}
	}
	if n < 15 {
		t.Fatalf("%d records", n)
	}
	search(t, "the memory store", dump)
}

func openDatabase(t *testing.T, folder string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(folder, "store.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDumpOfSQLiteTellsNothing(t *testing.T) {
	folder := t.TempDir()
	s := wrap(t, openDatabase(t, folder), newRing(t), encrypted.Options{})
	use(t, s)
	search(t, "the database in use", files(t, folder)) // with its write-ahead log
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	search(t, "the closed database", files(t, folder))
}

// The same search finds a user in a database that is not encrypted: else it
// would show nothing.
func TestDumpOfPlainSQLiteTells(t *testing.T) {
	folder := t.TempDir()
	s := openDatabase(t, folder)
	do(t, s, creation(t, "https://issuer.example/alice"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(files(t, folder), private()["https://issuer.example/alice"]) {
		t.Error("a plain user was not found")
	}
}

// files returns all that a folder holds.
func files(t *testing.T, folder string) (dump []byte) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		dump = append(dump, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(dump) < 10_000 {
		t.Fatalf("%s holds %d bytes", folder, len(dump))
	}
	return dump
}
