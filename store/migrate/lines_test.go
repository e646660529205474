package migrate_test

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/migrate"
)

// export returns what a store has as an export.
func export(t *testing.T, s state.Store) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := migrate.Export(t.Context(), &out, s, state.Query{Namespace: namespace}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnImportHasWhatWasExported(t *testing.T) {
	w := newWorld(t)
	for _, user := range []string{"", "ann", "\xff\x00 bytes", "<ünal>"} {
		op := creation(newRef(t), user)
		op.Record.Meta.Address = netip.MustParseAddr("fd00::7")
		op.Record.Meta.UserAgent = "agent \"<ä"
		op.Record.Meta.Capabilities = []byte(`{"roots":{}}`)
		if user == "ann" {
			op.Record.Meta, op.Record.Secret, op.Record.Data = state.Metadata{}, state.Secret{}, nil
		}
		do(t, w.from, op)
		if user != "" {
			do(t, w.from, state.UpdateOp{Key: op.Target(), Version: 1, Rotate: &state.Rotation{Hash: hash(5), Grace: time.Hour}, ID: state.OpID{3}})
		}
	}
	text := export(t, w.from)
	if strings.Count(text, "\n") != 4 {
		t.Fatalf("exported %q", text)
	}
	for _, want := range []migrate.Imported{{Imported: 4}, {There: 4}} {
		got, err := migrate.Import(t.Context(), strings.NewReader(text), w.to, namespace)
		if err != nil || got != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	if want, got := comparable(w.from, t), comparable(w.to, t); !maps.Equal(want, got) {
		t.Errorf("imported\n%v, want\n%v", got, want)
	}
	if again := export(t, w.to); again != text {
		t.Errorf("exported again:\n%s, want\n%s", again, text)
	}
	w.now = w.now.Add(2000 * time.Hour)
	late := newWorld(t)
	late.now = w.now
	if got, err := migrate.Import(t.Context(), strings.NewReader(text), late.to, namespace); err != nil || got.Expired != 4 {
		t.Errorf("long after: %v, %v", got, err)
	}
}

func TestAnImportSaysWhichLineIsWrong(t *testing.T) {
	w := newWorld(t)
	do(t, w.from, creation(newRef(t), "somebody"))
	good := strings.TrimSpace(export(t, w.from))
	for name, bad := range map[string]string{
		"no JSON":         good[1:],
		"half a line":     good[:len(good)/2],
		"another format":  strings.Replace(good, `"format":1`, `"format":2`, 1),
		"no ref":          strings.Replace(good, `"ref":"`, `"ref":"!`, 1),
		"no kind":         strings.Replace(good, `"kind":"session"`, `"kind":""`, 1),
		"a short secret":  strings.Replace(good, `"secret_sha256":"`, `"secret_sha256":"00`, 1),
		"no hexadecimals": strings.Replace(good, `"secret_sha256":"0`, `"secret_sha256":"x`, 1),
		"no version":      strings.Replace(good, `"version":1`, `"version":0`, 1),
		"too long":        strings.Repeat("x", 9<<20),
	} {
		_, err := migrate.Import(t.Context(), strings.NewReader(good+"\n\n"+bad+"\n"), w.to, namespace)
		if err == nil || strings.Contains(err.Error(), "somebody") {
			t.Errorf("%s: %v", name, err)
		}
		if name != "too long" && (!errors.Is(err, state.ErrInvalid) || !strings.Contains(err.Error(), "line 3")) {
			t.Errorf("%s: %v; want line 3 named", name, err)
		}
	}
	if got := comparable(w.to, t); len(got) > 1 {
		t.Errorf("imported %v", got)
	}
}

// Whatever a file has, an import refuses it or makes of it what exports the
// same again.
func FuzzImport(f *testing.F) {
	w := newWorld(f)
	do(f, w.from, creation(newRef(f), "ann"))
	var out bytes.Buffer
	if _, err := migrate.Export(f.Context(), &out, w.from, state.Query{Namespace: namespace}); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte(`{"format":1,"user":{"base64":"/w=="}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t)
		if _, err := migrate.Import(t.Context(), bytes.NewReader(b), w.to, namespace); err != nil {
			return
		}
		text := export(t, w.to)
		again := newWorld(t)
		if _, err := migrate.Import(t.Context(), strings.NewReader(text), again.to, namespace); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if got := export(t, again.to); got != text {
			t.Fatalf("%s became %s", text, got)
		}
	})
}
