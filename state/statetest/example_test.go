package statetest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// A store's own test is one call.
func ExampleRun() {
	testStore := func(t *testing.T) {
		statetest.Run(t, statetest.Harness{
			Open: func(t testing.TB, clock *statetest.Clock) state.Store {
				s := memory.New(memory.Options{Clock: clock.Now})
				t.Cleanup(func() { s.Close() })
				return s
			},
		})
	}
	_ = testStore // go test would run it as TestStore
}

// A Clock stands still until it is moved, so that no test waits.
func ExampleClock() {
	clock := statetest.NewClock()
	before := clock.Now()
	clock.Advance(24 * time.Hour)
	fmt.Println(clock.Now().Sub(before))
	// Output: 24h0m0s
}
