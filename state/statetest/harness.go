package statetest

import (
	"context"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Harness describes a store under test. Only Open is required.
type Harness struct {
	// Open returns a new, empty store. It registers the Close with
	// t.Cleanup and ends the test if the store cannot be opened. The store
	// takes its time from clock, which is nil with OwnClock.
	Open func(t testing.TB, clock *Clock) state.Store

	// OwnClock says that the store's time cannot be injected. Timed checks
	// then wait in real time with short lifetimes, and those that need a day
	// are skipped.
	OwnClock bool

	// ShortLife is the lifetime that timed checks give to records with
	// OwnClock; zero: 250 ms. It must be well above the store's resolution.
	ShortLife time.Duration

	// Reopen returns a second handle on the records of s, as another process
	// would have it, and registers its Close with t.Cleanup. It is used if it
	// is set and Guarantees().Shared is true.
	Reopen func(t testing.TB, s state.Store) state.Store

	// patience and timeout shorten what is below, for the package's own tests
	// on broken stores; zero: as below.
	patience, timeout time.Duration
}

// within returns how long a check waits for what has to happen at once.
func (h *Harness) within() time.Duration {
	if h.patience > 0 {
		return h.patience
	}
	return 30 * time.Second
}

// deadline returns how long a check may take. After that its context ends, so
// that a store that hangs fails with a name instead of with the test binary.
func (h *Harness) deadline() time.Duration {
	if h.timeout > 0 {
		return h.timeout
	}
	return 90 * time.Second
}

// Run checks the whole contract of [state.Store]. Each sentence is a sub-test,
// named for the behaviour, as in "Create/RefusesTakenRef". In short mode
// (go test -short) the random and concurrent checks do less.
func Run(t *testing.T, h Harness) {
	t.Helper()
	runGroups(t, h, storeGroups())
}

// A check is one named behaviour.
type check struct {
	name string
	run  func(e *env)
	need need
}

// need says what a check cannot do without.
type need int

const (
	manualClock need = 1 << iota // skipped with OwnClock
	freshStore                   // a store of its own, since it closes or fills it
	secondOpen                   // skipped without Reopen
	exactTotal                   // skipped unless Guarantees().ExactTotal
)

// A group is a set of checks that share a store.
type group struct {
	name   string
	checks []check
}

func storeGroups() []group {
	return []group{
		{"Create", createChecks()},
		{"Import", importChecks()},
		{"Update", updateChecks()},
		{"Sealed", sealedChecks()},
		{"Rotate", rotateChecks()},
		{"Touch", touchChecks()},
		{"Extend", extendChecks()},
		{"SetOwner", setOwnerChecks()},
		{"Delete", deleteChecks()},
		{"Get", getChecks()},
		{"Limit", limitChecks()},
		{"Model", modelChecks()},
		{"Apply", applyChecks()},
		{"List", listChecks()},
		{"Watch", watchChecks()},
		{"Sweep", sweepChecks()},
		{"History", historyChecks()},
		{"Race", raceChecks()},
		{"LimitRace", limitRaceChecks()},
		{"Hostile", hostileChecks()},
		{"Context", contextChecks()},
		{"Close", closeChecks()},
		{"Reopen", reopenChecks()},
		{"Guide", guideChecks()},
	}
}

func runGroups(t *testing.T, h Harness, groups []group) {
	t.Helper()
	if h.Open == nil {
		t.Fatal("statetest: Harness.Open is nil; it has to open the store under test")
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			shared := openStore(t, h)
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) { runCheck(t, h, c, shared) })
			}
		})
	}
}

// An opened is a store and the clock that it was given.
type opened struct {
	store state.Store
	clock *Clock
}

func openStore(t testing.TB, h Harness) opened {
	var o opened
	if !h.OwnClock {
		o.clock = NewClock()
	}
	o.store = h.Open(t, o.clock)
	return o
}

// runCheck runs c on the shared store, or on one of its own if it needs that.
func runCheck(t testing.TB, h Harness, c check, shared opened) {
	if c.need&manualClock != 0 && h.OwnClock {
		t.Skip("needs a clock that can be injected")
	}
	o := shared
	if c.need&freshStore != 0 {
		o = openStore(t, h)
	}
	g := o.store.Guarantees()
	if c.need&secondOpen != 0 && (h.Reopen == nil || !g.Shared) {
		t.Skip("the store cannot be opened twice")
	}
	if c.need&exactTotal != 0 && !g.ExactTotal {
		t.Skip("the store does not promise ExactTotal")
	}
	ctx, cancel := context.WithTimeout(t.Context(), h.deadline())
	defer cancel()
	c.run(newEnv(ctx, t, h, o, g))
}
