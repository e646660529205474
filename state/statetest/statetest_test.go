package statetest

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) {
	// The broken stores of mutants_test.go make rapid fail on purpose: it need
	// not keep notes of that, nor look long for the shortest way to it.
	flag.Parse()
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "1s"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func openMemory(t testing.TB, clock *Clock) state.Store {
	t.Helper()
	var now func() time.Time
	if clock != nil {
		now = clock.Now
	}
	s := memory.New(memory.Options{Clock: now})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func TestRunOnMemory(t *testing.T) { Run(t, Harness{Open: openMemory}) }

func TestRunOnMemoryWithItsOwnClock(t *testing.T) {
	Run(t, Harness{Open: openMemory, OwnClock: true})
}

func TestRunEventsOnMemory(t *testing.T) { RunEvents(t, Harness{Open: openMemory}) }

func TestRunEventsOnMemoryWithItsOwnClock(t *testing.T) {
	RunEvents(t, Harness{Open: openMemory, OwnClock: true})
}
