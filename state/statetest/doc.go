// Package statetest checks that a store keeps the contract of package state.
//
// [Run] takes a [Harness], which says how to open the store, and checks every
// sentence of the doc comment of [state.Store] as a named sub-test: what each
// operation does and refuses and in which order, expiry, limits, tombstones,
// watches, sweeps, hostile input, cancelled contexts, and closing. It plays
// random operations against a small in-memory model (the executable reading of
// the contract, see model.go), records what many goroutines see and lets
// porcupine decide whether that was linearizable, and runs the races that
// session stores are known to lose: the deleted session that comes back, the
// limit that overshoots, the lost update, the expiry that is counted twice.
// The two tests of the session management guide run through a session.Manager
// on the store. [RunEvents] does the same for [state.EventStore] and [RunCache]
// for [state.Cache].
//
// It is meant for stores of your own and for wrappers: a wrapper is a store and
// passes the same suite.
//
//	func TestStore(t *testing.T) {
//		statetest.Run(t, statetest.Harness{
//			Open: func(t testing.TB, clock *statetest.Clock) state.Store {
//				s := mystore.New(mystore.Options{Clock: clock.Now})
//				t.Cleanup(func() { s.Close() })
//				return s
//			},
//		})
//	}
//
// # Time
//
// A store whose clock can be injected gets a [Clock] that only the suite moves,
// so a lifetime of hours takes no time. A store that keeps its own time (a
// database's, say) sets [Harness.OwnClock]; the suite then gives records short
// lives, asks the store itself when they are over, and leaves out the few
// checks that would take a day. No check depends on the speed of the machine.
//
// # What is assumed
//
// Values are compared as JSON, not as bytes, so a store may normalise them.
// What [state.Guarantees] declares is taken into account: reads may lag by
// Staleness, deadlines may be off by ClockError, and Reopen is used only if the
// store is Shared. Every sub-test works in a namespace of its own, so most of
// them share one store.
//
// A suite that cannot fail shows nothing: the package's own tests run it on
// deliberately broken stores, event stores and caches, and each must be caught
// by the checks named beside it. Who adds a check adds a broken store.
//
// The random checks are rapid's: its flags (-rapid.checks, -rapid.seed) apply.
package statetest
