package encrypted_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

func newRing(t testing.TB) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wrap encrypts a store, which is closed with it.
func wrap(t testing.TB, inner state.Store, ring *keyring.Ring, opts encrypted.Options) *encrypted.Store {
	t.Helper()
	s, err := encrypted.New(inner, ring, opts)
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

func now(clock *statetest.Clock) func() time.Time {
	if clock == nil {
		return nil
	}
	return clock.Now
}

func TestEncryptedMemoryKeepsTheContract(t *testing.T) {
	statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return wrap(t, memory.New(memory.Options{Clock: now(clock)}), newRing(t), encrypted.Options{Clock: now(clock)})
	}})
}

func TestEncryptedMemoryKeepsEvents(t *testing.T) {
	statetest.RunEvents(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return wrap(t, memory.New(memory.Options{Clock: now(clock)}), newRing(t), encrypted.Options{Clock: now(clock)})
	}})
}

func openSQLite(t testing.TB, clock *statetest.Clock) state.Store {
	t.Helper()
	inner, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{Clock: now(clock)})
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, inner, newRing(t), encrypted.Options{Clock: now(clock)})
}

func TestEncryptedSQLiteKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same on memory is run")
	}
	statetest.Run(t, statetest.Harness{Open: openSQLite})
	statetest.RunEvents(t, statetest.Harness{Open: openSQLite})
}

// Two layers with rings of their own: what the outer one seals is content to
// the inner one.
func TestEncryptedTwiceKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same without is run")
	}
	statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		inner := wrap(t, memory.New(memory.Options{Clock: now(clock)}), newRing(t), encrypted.Options{Clock: now(clock)})
		return wrap(t, inner, newRing(t), encrypted.Options{Clock: now(clock)})
	}})
}

func TestEncryptedKeepsTheContractWithALifetimeBound(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the same without is run")
	}
	statetest.Run(t, statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return wrap(t, memory.New(memory.Options{Clock: now(clock)}), newRing(t), encrypted.Options{
			Clock: now(clock), MaxLifetime: 100 * 365 * 24 * time.Hour,
		})
	}})
}
