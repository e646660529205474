package memory_test

import (
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func harness() statetest.Harness {
	return statetest.Harness{Open: func(t testing.TB, clock *statetest.Clock) state.Store {
		return open(t, memory.Options{Clock: clock.Now})
	}}
}

func TestStoreKeepsTheContract(t *testing.T) { statetest.Run(t, harness()) }

func TestEventsKeepTheContract(t *testing.T) { statetest.RunEvents(t, harness()) }
