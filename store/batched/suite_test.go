package batched_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
)

func TestBatchedMemoryKeepsTheContract(t *testing.T) {
	for name, opts := range map[string]batched.Options{
		"Defaults":    {},
		"SmallGroups": {MaxOps: 3, MaxBytes: 500},
		"Interval":    {Interval: 100 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "Defaults" {
				t.Skip("short: the defaults are run")
			}
			h := statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
				return open(t, openMemory(clock), opts)
			}}
			statetest.Run(t, h)
			statetest.RunEvents(t, h)
		})
	}
}

func TestBatchedSQLiteKeepsTheContract(t *testing.T) {
	var mu sync.Mutex
	type file struct {
		path  string
		clock *statetest.Clock
	}
	files := map[state.Store]file{}
	open := func(t testing.TB, f file) state.Store {
		s := open(t, openFile(t, f.path, now(f.clock)), batched.Options{})
		mu.Lock()
		defer mu.Unlock()
		files[s] = f
		return s
	}
	h := statetest.Harness{
		Open: func(t testing.TB, clock *statetest.Clock) state.Store {
			return open(t, file{filepath.Join(t.TempDir(), "state.db"), clock})
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			mu.Lock()
			f := files[s]
			mu.Unlock()
			return open(t, f)
		},
	}
	statetest.Run(t, h)
	statetest.RunEvents(t, h)
}
