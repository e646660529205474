package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
)

// openTest opens a store on a new file, or on the one given.
func openTest(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "data", "state.db")
	}
	s, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func harness(opts Options) statetest.Harness {
	withClock := func(clock *statetest.Clock) Options {
		o := opts
		o.Clock = nil
		if clock != nil {
			o.Clock = clock.Now
		}
		return o
	}
	return statetest.Harness{
		Open: func(t testing.TB, clock *statetest.Clock) state.Store {
			return openTest(t, "", withClock(clock))
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			first := s.(*Store)
			o := opts
			o.Clock = first.opts.Clock
			return openTest(t, first.path, o)
		},
	}
}

func TestContract(t *testing.T) {
	for name, opts := range map[string]Options{
		"Cached":      {},
		"Uncached":    {CacheBytes: -1},
		"DataVersion": {noWALPeek: true},
	} {
		t.Run(name, func(t *testing.T) {
			if (testing.Short() || raced) && name != "Cached" {
				t.Skip("only with the defaults in short mode and under the race detector")
			}
			statetest.Run(t, harness(opts))
		})
	}
}

func TestEventContract(t *testing.T) {
	statetest.RunEvents(t, harness(Options{}))
}
