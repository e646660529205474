package keyring_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
)

func newFile(t testing.TB, opts keyring.Options) (string, *keyring.Ring) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	return path, must[*keyring.Ring](t)(keyring.Create(t.Context(), path, opts))
}

func sealWith(k *keyring.Key, text string) []byte {
	return k.Cipher(keyring.Records).Seal(nil, []byte(text), nil)
}

func opens(t testing.TB, r *keyring.Ring, id string, sealed []byte, want string) {
	t.Helper()
	k, err := r.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Cipher(keyring.Records).Open(nil, sealed, nil); err != nil || string(got) != want {
		t.Fatalf("opened %q, %v", got, err)
	}
}

func TestFileKeepsTheRing(t *testing.T) {
	ctx := t.Context()
	path, r := newFile(t, keyring.Options{})
	first := r.Active()
	sealed := sealWith(first, "coat")
	created := must[keyring.Info](t)(r.Generate(ctx))
	must[keyring.Info](t)(r.Rotate(ctx))
	gone := must[keyring.Info](t)(r.Generate(ctx))
	if err := r.Revoke(ctx, gone.ID); err != nil {
		t.Fatal(err)
	}
	again := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{}))
	if fmt.Sprint(again.Keys()) != fmt.Sprint(r.Keys()) {
		t.Errorf("read %v, want %v", again.Keys(), r.Keys())
	}
	if !again.Stable(keyring.UserIndex).Equal(r.Stable(keyring.UserIndex)) {
		t.Error("another root")
	}
	opens(t, again, first.ID(), sealed, "coat")
	if states(again)[created.ID] != keyring.Created || states(again)[gone.ID] != keyring.Revoked {
		t.Errorf("states %v", states(again))
	}
	if info := must[os.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(path)))
	if len(entries) != 1 {
		t.Errorf("%d files are left beside the key file", len(entries)-1)
	}
}

func TestRevocationErasesTheKeyFromTheFile(t *testing.T) {
	path, r := newFile(t, keyring.Options{})
	var before struct {
		Keys []struct{ Secret string }
	}
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(path)), &before); err != nil || before.Keys[0].Secret == "" {
		t.Fatal("cannot read the file", err)
	}
	old := r.Active().ID()
	must[keyring.Info](t)(r.Rotate(t.Context()))
	if err := r.Revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if after := must[[]byte](t)(os.ReadFile(path)); strings.Contains(string(after), before.Keys[0].Secret) {
		t.Error("the file still has the key")
	}
}

func TestCreateOverwritesNothing(t *testing.T) {
	path, r := newFile(t, keyring.Options{})
	if _, err := keyring.Create(t.Context(), path, keyring.Options{}); !errors.Is(err, keyring.ErrExists) {
		t.Errorf("got %v", err)
	}
	if again := must[*keyring.Ring](t)(keyring.Open(t.Context(), path, keyring.Options{})); again.Active().ID() != r.Active().ID() {
		t.Error("the file was overwritten")
	}
}

func TestFilesOpenToOthersAreRefused(t *testing.T) {
	path, r := newFile(t, keyring.Options{})
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Open(t.Context(), path, keyring.Options{}); !errors.Is(err, keyring.ErrExposed) {
			t.Errorf("mode %v: %v", mode, err)
		}
		if _, err := r.Generate(t.Context()); !errors.Is(err, keyring.ErrExposed) {
			t.Errorf("change with mode %v: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(t.Context(), path, keyring.Options{}); err != nil {
		t.Errorf("a file that its owner may only read: %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := keyring.Open(t.Context(), filepath.Join(t.TempDir(), "absent"), keyring.Options{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := keyring.Open(t.Context(), t.TempDir(), keyring.Options{}); err == nil {
		t.Error("opened a folder")
	}
}

// Other processes' changes are seen, and none is lost.
func TestChangesOfManyProcessesAreAllKept(t *testing.T) {
	path, _ := newFile(t, keyring.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const processes, each = 4, 5
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			r, err := keyring.Open(ctx, path, keyring.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				if _, err := r.Generate(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{}))
	if got := len(r.Keys()); got != 1+processes*each {
		t.Errorf("%d keys, want %d: a change was lost", got, 1+processes*each)
	}
}

func TestReloadLearnsWhatOthersDid(t *testing.T) {
	ctx := t.Context()
	path, here := newFile(t, keyring.Options{})
	there := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{}))
	if changed, err := there.Reload(ctx); changed || err != nil {
		t.Errorf("nothing happened: %v, %v", changed, err)
	}
	sealed := sealWith(here.Active(), "coat")
	old, made := here.Active().ID(), must[keyring.Info](t)(here.Rotate(ctx))
	if _, err := there.Find(made.ID); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("before: %v", err)
	}
	if changed, err := there.Reload(ctx); !changed || err != nil {
		t.Errorf("reload: %v, %v", changed, err)
	}
	opens(t, there, made.ID, sealWith(here.Active(), "hat"), "hat")
	opens(t, there, old, sealed, "coat")
	if there.Active().ID() != made.ID {
		t.Errorf("active: %v", there.Active())
	}
}

func TestFailedReloadKeepsTheKeys(t *testing.T) {
	ctx := t.Context()
	path, r := newFile(t, keyring.Options{})
	id := r.Active().ID()
	good := must[[]byte](t)(os.ReadFile(path))
	_, other := newFile(t, keyring.Options{})
	otherPath := filepath.Join(t.TempDir(), "other")
	if err := other.SaveAs(ctx, otherPath, keyring.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"cut short":    {good[:len(good)/2], keyring.ErrMalformedRing},
		"empty":        {nil, keyring.ErrMalformedRing},
		"another ring": {must[[]byte](t)(os.ReadFile(otherPath)), keyring.ErrOtherRing},
	} {
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reload(ctx); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Active().ID() != id {
			t.Errorf("%s: the keys changed", name)
		}
	}
}

func TestRunReloadsUntilItsContextEnds(t *testing.T) {
	path, r := newFile(t, keyring.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := make(chan error, 100)
	done := make(chan error)
	go func() {
		done <- r.Run(ctx, time.Millisecond, func(err error) {
			select {
			case reports <- err:
			default:
			}
		})
	}()
	elsewhere := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{}))
	made := must[keyring.Info](t)(elsewhere.Rotate(ctx))
	for deadline := time.Now().Add(30 * time.Second); r.Active().ID() != made.ID; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new key was never read")
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-reports; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reported %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestMalformedFilesAreRefused(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(make([]byte, 32))
	const when = `"created":"2026-07-28T00:00:00Z","changed":"2026-07-28T00:00:00Z"`
	key := func(id, state string) string {
		return fmt.Sprintf(`{"id":%q,"state":%q,%s,"secret":%q}`, id, state, when, secret)
	}
	ring := func(keys ...string) string {
		return fmt.Sprintf(`{"version":1,"root":%q,"keys":[%s]}`, secret, strings.Join(keys, ","))
	}
	path := filepath.Join(t.TempDir(), "keys")
	try := func(content string) error {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := keyring.Open(t.Context(), path, keyring.Options{})
		return err
	}
	if err := try(ring(key("a", "active"))); err != nil {
		t.Fatalf("a good file: %v", err)
	}
	for name, content := range map[string]string{
		"no JSON":          "hunter2",
		"newer":            `{"version":2}`,
		"no version":       `{}`,
		"unknown field":    strings.Replace(ring(key("a", "active")), `"root"`, `"hunter2":1,"root"`, 1),
		"wrong type":       strings.Replace(ring(key("a", "active")), `"active"`, `["hunter2"]`, 1),
		"two values":       ring(key("a", "active")) + "{}",
		"none active":      ring(key("a", "retired")),
		"two active":       ring(key("a", "active"), key("b", "active")),
		"no keys":          ring(),
		"same name":        ring(key("a", "active"), key("a", "retired")),
		"bad name":         ring(key("A b", "active")),
		"empty name":       ring(key("", "active")),
		"unknown state":    ring(key("a", "active"), key("b", "hunter2")),
		"revoked with key": ring(key("a", "active"), key("b", "revoked")),
		"no secret":        ring(strings.Replace(key("a", "active"), secret, "", 1)),
		"short secret":     ring(strings.Replace(key("a", "active"), secret, "aHVudGVyMg==", 1)),
		"bad secret":       ring(strings.Replace(key("a", "active"), secret, "hunter2*", 1)),
		"bad root":         strings.Replace(ring(key("a", "active")), secret, "hunter2*", 1),
		"too long":         ring(key("a", "active")) + strings.Repeat(" ", 1<<20),
	} {
		err := try(content)
		if !errors.Is(err, keyring.ErrMalformedRing) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the file: %v", name, err)
		}
	}
}

func TestOneKeyBecomesAFileThatCanBeRotated(t *testing.T) {
	ctx := t.Context()
	one := must[*keyring.Ring](t)(keyring.FromKey(oneKey))
	sealed := sealWith(one.Active(), "coat")
	path := filepath.Join(t.TempDir(), "keys")
	if err := one.SaveAs(ctx, path, keyring.Options{}); err != nil {
		t.Fatal(err)
	}
	r := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{}))
	must[keyring.Info](t)(r.Rotate(ctx))
	opens(t, r, one.Active().ID(), sealed, "coat")
	if !r.Stable(keyring.UserIndex).Equal(one.Stable(keyring.UserIndex)) {
		t.Error("users would not be found again")
	}
}

// A countingMaster counts how often it is asked.
type countingMaster struct {
	keyring.Master
	mu             sync.Mutex
	wraps, unwraps int
}

func (m *countingMaster) Wrap(ctx context.Context, b, additional []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wraps++
	return m.Master.Wrap(ctx, b, additional)
}

func (m *countingMaster) Unwrap(ctx context.Context, b, additional []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unwraps++
	return m.Master.Unwrap(ctx, b, additional)
}

func masterOf(t testing.TB, name string, fill byte) *countingMaster {
	b := make([]byte, keyring.SecretSize)
	b[0] = fill
	return &countingMaster{Master: keyring.NewMaster(name, must[keyring.Secret](t)(keyring.SecretFromBytes(b)))}
}

func TestMasterWrapsTheKeys(t *testing.T) {
	ctx := t.Context()
	m := masterOf(t, "kms", 1)
	path, r := newFile(t, keyring.Options{Master: m})
	must[keyring.Info](t)(r.Rotate(ctx))
	sealed := sealWith(r.Active(), "coat")
	again := must[*keyring.Ring](t)(keyring.Open(ctx, path, keyring.Options{Master: m}))
	opens(t, again, r.Active().ID(), sealed, "coat")

	content := string(must[[]byte](t)(os.ReadFile(path)))
	var f struct {
		Keys []struct{ Secret string }
	}
	if err := json.Unmarshal([]byte(content), &f); err != nil {
		t.Fatal(err)
	}
	for _, k := range f.Keys {
		if n := len(must[[]byte](t)(base64.StdEncoding.DecodeString(k.Secret))); n != keyring.SecretSize+keyring.Overhead {
			t.Errorf("a wrapped key has %d bytes", n)
		}
	}
	before := m.unwraps
	if _, err := again.Reload(ctx); err != nil || m.unwraps != before {
		t.Errorf("reload of the same file asked the master key %d times, %v", m.unwraps-before, err)
	}
}

func TestWrongMasterIsRefused(t *testing.T) {
	ctx := t.Context()
	path, _ := newFile(t, keyring.Options{Master: masterOf(t, "kms", 1)})
	for name, c := range map[string]struct {
		master keyring.Master
		want   error
	}{
		"none":        {nil, keyring.ErrMaster},
		"other name":  {masterOf(t, "other", 1), keyring.ErrMaster},
		"other key":   {masterOf(t, "kms", 2), keyring.ErrOpen},
		"for a plain": {masterOf(t, "kms", 1), keyring.ErrMaster},
	} {
		path := path
		if name == "for a plain" {
			path, _ = newFile(t, keyring.Options{})
		}
		if _, err := keyring.Open(ctx, path, keyring.Options{Master: c.master}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// A wrapped key cannot be put into the place of another.
func TestWrappedKeysAreBoundToTheirNames(t *testing.T) {
	ctx := t.Context()
	m := masterOf(t, "kms", 1)
	path, r := newFile(t, keyring.Options{Master: m})
	first := r.Active().ID()
	second := must[keyring.Info](t)(r.Rotate(ctx)).ID
	content := string(must[[]byte](t)(os.ReadFile(path)))
	content = strings.NewReplacer(first, second, second, first).Replace(content)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(ctx, path, keyring.Options{Master: m}); !errors.Is(err, keyring.ErrOpen) {
		t.Errorf("got %v", err)
	}
}

func FuzzOpenFile(f *testing.F) {
	secret := base64.StdEncoding.EncodeToString(make([]byte, 32))
	f.Add([]byte(`{"version":1,"root":"` + secret + `","keys":[{"id":"a","state":"active","created":"2026-07-28T00:00:00Z","changed":"2026-07-28T00:00:00Z","secret":"` + secret + `"}]}`))
	f.Add([]byte(`{"version":1,"keys":[{}]}`))
	path := filepath.Join(f.TempDir(), "keys")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := keyring.Open(context.Background(), path, keyring.Options{})
		if err == nil {
			r.Active().Cipher(keyring.Records).Seal(nil, nil, nil)
		} else if !errors.Is(err, keyring.ErrMalformedRing) && !errors.Is(err, keyring.ErrMaster) {
			t.Fatal(err)
		}
	})
}
