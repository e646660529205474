package open_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

func newRing(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mustOpen opens a store that is closed with the test.
func mustOpen(t testing.TB, url string, opts open.Options) open.Store {
	t.Helper()
	s, err := open.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// The bare stores are judged by the suite where they are; here it is what is
// made of those that need a server, by the encryption and by all wrappers.
func TestWrappedServersKeepTheContract(t *testing.T) {
	l1 := caches(t, "l1=1MiB")
	for name, url := range servers(t) {
		for wrapped, opts := range map[string]open.Options{
			"encrypted": {},
			"all":       {Caches: l1, Tiered: tiered.Options{Staleness: 200 * time.Millisecond}, Batch: &batched.Options{}},
		} {
			t.Run(name+"/"+wrapped, func(t *testing.T) {
				h := wrappedHarness(url, opts)
				statetest.Run(t, h)
				t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, h) })
			})
		}
	}
}

// wrappedHarness opens stores at URLs of their own, each with a key of its own.
func wrappedHarness(url func(testing.TB) string, opts open.Options) statetest.Harness {
	where := map[state.Store]string{}
	rings := map[state.Store]*keyring.Ring{}
	return statetest.Harness{
		OwnClock: true,
		Open: func(t testing.TB, _ *statetest.Clock) state.Store {
			at := url(t)
			with := opts
			with.Ring = newRing(t)
			s := mustOpen(t, at, with)
			where[s], rings[s] = at, with.Ring
			return s
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			with := opts
			with.Ring = rings[s]
			return mustOpen(t, where[s], with)
		},
	}
}

// servers returns what makes URLs of empty stores.
func servers(t *testing.T) map[string]func(testing.TB) string {
	var n atomic.Int64
	return map[string]func(testing.TB) string{
		"redis": func() func(testing.TB) string {
			var server *redisserver.Server
			return func(testing.TB) string {
				if server == nil {
					server = redisserver.Start(t)
				}
				return fmt.Sprintf("redis://%s?prefix=test%d:", server.Addr(), n.Add(1))
			}
		}(),
		"postgres": func(tb testing.TB) string {
			return fmt.Sprintf("%s?schema=test%d", postgresserver.Shared(t).Database(t), n.Add(1))
		},
	}
}

// everywhere runs a test on a URL of each store that outlives its closing.
func everywhere(t *testing.T, test func(t *testing.T, url string)) {
	all := servers(t)
	all["sqlite"] = func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "x.db") }
	for name, url := range all {
		t.Run(name, func(t *testing.T) { test(t, url(t)) })
	}
}

const namespace = "default"

// leave creates a record.
func leave(t *testing.T, s state.Store, user string) state.Key {
	t.Helper()
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := state.Record{Namespace: namespace, Kind: "session", Ref: ref, User: user, Data: map[string]json.RawMessage{"k": json.RawMessage(`"v"`)}}
	if _, err := state.Do(t.Context(), s, state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return r.Key()
}

func TestWhatWasLeftIsThereWhenOpenedAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, url string) {
		for _, ring := range []*keyring.Ring{nil, newRing(t)} {
			opts := open.Options{Ring: ring}
			s := mustOpen(t, url, opts)
			key := leave(t, s, "ann")
			again := mustOpen(t, url, opts)
			r, err := again.Get(t.Context(), key)
			if err != nil || r.User != "ann" || string(r.Data["k"]) != `"v"` || len(r.Sealed) != 0 {
				t.Errorf("with a ring: %v: %+v, %v", ring != nil, r, err)
			}
		}
	})
}

func TestKeysThatDoNotFitAreNoticedWhenOpening(t *testing.T) {
	everywhere(t, func(t *testing.T, url string) {
		right, wrong := newRing(t), newRing(t)
		opts := func(ring *keyring.Ring) open.Options { return open.Options{Ring: ring, Namespace: namespace} }
		for what, ring := range map[string]*keyring.Ring{"no key": nil, "any key": wrong} {
			s, err := open.Open(t.Context(), url, opts(ring))
			if err != nil {
				t.Fatalf("an empty store with %s: %v", what, err)
			}
			s.Close()
		}
		sealed := mustOpen(t, url, opts(right))
		leave(t, sealed, "ann")
		mustOpen(t, url, opts(right))
		for what, ring := range map[string]*keyring.Ring{"no key": nil, "another key": wrong} {
			s, err := open.Open(t.Context(), url, opts(ring))
			var refused *open.SealError
			if !errors.As(err, &refused) {
				t.Errorf("a sealed store with %s: %v, want a SealError", what, err)
			}
			if err == nil {
				s.Close()
			}
		}
	})
}

func TestAKeyForAPlainStoreIsNoticedWhenOpening(t *testing.T) {
	everywhere(t, func(t *testing.T, url string) {
		leave(t, mustOpen(t, url, open.Options{}), "ann")
		s, err := open.Open(t.Context(), url, open.Options{Ring: newRing(t), Namespace: namespace})
		var refused *open.SealError
		if !errors.As(err, &refused) {
			t.Errorf("%v, want a SealError", err)
		}
		if err == nil {
			s.Close()
		}
		mustOpen(t, url, open.Options{Ring: newRing(t), Namespace: "other"})
	})
}

func TestOnlySealedBytesReachTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := open.Open(t.Context(), "sqlite:"+path, open.Options{Ring: newRing(t)})
	if err != nil {
		t.Fatal(err)
	}
	leave(t, s, "somebody-to-look-for")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("somebody-to-look-for")) {
			t.Errorf("%s has the user in clear", filepath.Base(f))
		}
	}
}

func TestMustExistMakesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if s, err := open.Open(t.Context(), "sqlite:"+path, open.Options{MustExist: true}); err == nil {
		s.Close()
		t.Error("opened")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}
