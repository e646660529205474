package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/keyring"
)

func newRing(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func states(r *keyring.Ring) map[string]keyring.State {
	m := map[string]keyring.State{}
	for _, k := range r.Keys() {
		m[k.ID] = k.State
	}
	return m
}

func TestAKeyGoesThroughItsStates(t *testing.T) {
	ctx := t.Context()
	r := newRing(t)
	first := r.Active()
	sealed := first.Cipher(keyring.Records).Seal(nil, []byte("coat"), nil)

	second := must[keyring.Info](t)(r.Generate(ctx))
	if second.State != keyring.Created || r.Active().ID() != first.ID() {
		t.Fatalf("a new key is %s, and %v is active", second.State, r.Active())
	}
	if _, err := r.Find(second.ID); err != nil {
		t.Fatalf("a created key cannot open: %v", err)
	}
	if err := r.Activate(ctx, second.ID); err != nil {
		t.Fatal(err)
	}
	if r.Active().ID() != second.ID || states(r)[first.ID()] != keyring.Retired {
		t.Fatalf("after activation: %v", states(r))
	}
	old := must[*keyring.Key](t)(r.Find(first.ID()))
	if got, err := old.Cipher(keyring.Records).Open(nil, sealed, nil); err != nil || string(got) != "coat" {
		t.Fatalf("a retired key opens %q, %v", got, err)
	}
	if err := r.Revoke(ctx, first.ID()); err != nil {
		t.Fatal(err)
	}
	var ke *keyring.KeyError
	if _, err := r.Find(first.ID()); !errors.Is(err, keyring.ErrRevokedKey) || !errors.As(err, &ke) || ke.ID != first.ID() {
		t.Fatalf("a revoked key: %v", err)
	}
}

func TestRefusedChangesChangeNothing(t *testing.T) {
	ctx := t.Context()
	r := newRing(t)
	first := r.Active().ID()
	second := must[keyring.Info](t)(r.Rotate(ctx)).ID
	if err := r.Revoke(ctx, first); err != nil {
		t.Fatal(err)
	}
	before := r.Keys()
	for name, c := range map[string]struct {
		err, want error
	}{
		"retire the active key":  {r.Retire(ctx, second), keyring.ErrState},
		"revoke the active key":  {r.Revoke(ctx, second), keyring.ErrState},
		"activate a revoked key": {r.Activate(ctx, first), keyring.ErrRevokedKey},
		"retire a revoked key":   {r.Retire(ctx, first), keyring.ErrRevokedKey},
		"activate no key":        {r.Activate(ctx, "absent"), keyring.ErrUnknownKey},
		"revoke no key":          {r.Revoke(ctx, "\x1b[2J"), keyring.ErrUnknownKey},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
		if strings.Contains(c.err.Error(), "\x1b") {
			t.Errorf("%s: the error repeats what no key is named: %q", name, c.err)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.Generate(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := r.Keys(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("refused changes changed %v to %v", before, got)
	}
}

// Whatever is done, exactly one key is active, and each key that is not revoked
// opens what it sealed.
func TestExactlyOneKeyIsActive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		r, err := keyring.New(keyring.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sealed := map[string][]byte{}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			id := rapid.SampledFrom(r.Keys()).Draw(t, "key").ID
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				r.Generate(ctx)
			case 1:
				r.Rotate(ctx)
			case 2:
				r.Activate(ctx, id)
			case 3:
				r.Retire(ctx, id)
			case 4:
				r.Revoke(ctx, id)
			}
			k := r.Active()
			sealed[k.ID()] = k.Cipher(keyring.Records).Seal(nil, []byte(k.ID()), nil)
			active := 0
			for _, info := range r.Keys() {
				if info.State == keyring.Active {
					active++
				}
				k, err := r.Find(info.ID)
				if (info.State == keyring.Revoked) != errors.Is(err, keyring.ErrRevokedKey) {
					t.Fatalf("%s key: %v", info.State, err)
				}
				if b := sealed[info.ID]; b != nil && err == nil {
					if got, err := k.Cipher(keyring.Records).Open(nil, b, nil); err != nil || string(got) != info.ID {
						t.Fatalf("%s key opens %q, %v", info.State, got, err)
					}
				}
			}
			if active != 1 {
				t.Fatalf("%d active keys", active)
			}
		}
	})
}

func TestPurposesHaveKeysOfTheirOwn(t *testing.T) {
	r := newRing(t)
	all := []keyring.Secret{}
	for _, p := range []keyring.Purpose{keyring.Records, keyring.Events, keyring.UserIndex, keyring.Routing, keyring.RequestState, keyring.CSRF} {
		all = append(all, r.Active().Secret(p), r.Stable(p))
	}
	for i, a := range all {
		for j, b := range all {
			if a.Equal(b) != (i == j) {
				t.Errorf("secrets %d and %d: equal %v", i, j, a.Equal(b))
			}
		}
	}
	sealed := r.Active().Cipher(keyring.Records).Seal(nil, []byte("coat"), nil)
	if _, err := r.Active().Cipher(keyring.Events).Open(nil, sealed, nil); !errors.Is(err, keyring.ErrOpen) {
		t.Errorf("sealed for one purpose, opened for another: %v", err)
	}
}

func TestStableSecretsOutliveRotations(t *testing.T) {
	r := newRing(t)
	before := r.Stable(keyring.UserIndex)
	old := r.Active().ID()
	must[keyring.Info](t)(r.Rotate(t.Context()))
	if err := r.Revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if !r.Stable(keyring.UserIndex).Equal(before) {
		t.Error("a stable secret changed with a rotation")
	}
}

const oneKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestRingFromOneKey(t *testing.T) {
	a := must[*keyring.Ring](t)(keyring.FromKey(oneKey))
	b := must[*keyring.Ring](t)(keyring.FromKey(" " + strings.TrimRight(oneKey, "=") + "\n"))
	if a.Active().ID() != b.Active().ID() || !a.Stable(keyring.UserIndex).Equal(b.Stable(keyring.UserIndex)) {
		t.Error("the same key made another ring")
	}
	sealed := a.Active().Cipher(keyring.Records).Seal(nil, []byte("coat"), nil)
	if got, err := b.Active().Cipher(keyring.Records).Open(nil, sealed, nil); err != nil || string(got) != "coat" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := a.Rotate(t.Context()); !errors.Is(err, keyring.ErrFixed) {
		t.Errorf("rotated: %v", err)
	}
	url := must[*keyring.Ring](t)(keyring.FromKey(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xef}, 16))))
	std := must[*keyring.Ring](t)(keyring.FromKey(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xef}, 16))))
	if url.Active().ID() != std.Active().ID() {
		t.Error("the URL-safe form makes another ring")
	}
}

// The ring of a key is the same in every release: what it sealed must be found.
func TestRingFromOneKeyNeverChanges(t *testing.T) {
	r := must[*keyring.Ring](t)(keyring.FromKey(oneKey))
	const id, index = "one-b293ffb6", "HRbm1sKI6ERrxupH+X+8cWnuGmBmlXsjytLcqmibqCA="
	got := base64.StdEncoding.EncodeToString(r.Stable(keyring.UserIndex).Bytes())
	if r.Active().ID() != id || got != index {
		t.Errorf("got key %s and index %s", r.Active().ID(), got)
	}
}

func TestMalformedKeysAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "hunter2", oneKey[1:], "A" + oneKey, strings.Replace(oneKey, "A", "*", 1), strings.Replace(oneKey, "8=", "9=", 1),
		oneKey[:10] + "\n" + oneKey[10:], base64.StdEncoding.EncodeToString(make([]byte, 31)),
	} {
		_, err := keyring.FromKey(text)
		if !errors.Is(err, keyring.ErrMalformedKey) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

// However it is printed, key material does not show.
func TestNothingPrintsMaterial(t *testing.T) {
	r := must[*keyring.Ring](t)(keyring.FromKey(oneKey))
	material := must[[]byte](t)(base64.StdEncoding.DecodeString(oneKey))
	secret := must[keyring.Secret](t)(keyring.SecretFromBytes(material))
	things := []any{
		secret, &secret, struct{ S keyring.Secret }{secret}, struct{ s keyring.Secret }{secret}, []keyring.Secret{secret},
		map[string]keyring.Secret{"k": secret}, r, *r.Active(), r.Active(), struct{ k *keyring.Key }{r.Active()},
		r.Active().Cipher(keyring.Records), keyring.Options{Master: keyring.NewMaster("m", secret)}, keyring.NewMaster("m", secret),
	}
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, nil))
	js := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text.Info("x", "v", v)
		js.Info("x", "v", v)
		b, _ := json.Marshal(v)
		out.Write(b)
	}
	derived := r.Active().Secret(keyring.Records).Bytes()
	for _, m := range [][]byte{material, derived} {
		for name, form := range map[string]string{
			"raw": string(m[:8]), "hex": fmt.Sprintf("%x", m[:8]), "HEX": fmt.Sprintf("%X", m[:8]),
			"decimal": strings.Trim(fmt.Sprint(m[:8]), "[]"), "base64": base64.StdEncoding.EncodeToString(m[:9]),
			"go": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", m[:8]), "[]byte{"), "}"),
		} {
			if strings.Contains(out.String(), form) {
				t.Errorf("the %s form of a key was printed", name)
			}
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was printed")
	}
}

func TestConcurrentUse(t *testing.T) {
	r := newRing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 5)
	for range 4 {
		go func() {
			for range 500 {
				k := r.Active()
				sealed := k.Cipher(keyring.Records).Seal(nil, []byte("coat"), nil)
				found, err := r.Find(k.ID())
				if err == nil {
					_, err = found.Cipher(keyring.Records).Open(nil, sealed, nil)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	go func() {
		for range 50 {
			if _, err := r.Rotate(ctx); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
