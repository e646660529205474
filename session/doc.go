// Package session manages sessions on a [state.Store]: it issues ids, applies
// the policy, keeps the lifecycle and says what happened.
//
// A [Manager] is the front; it holds no sessions itself. Everything that must
// hold among many processes (limits, versions, deadlines, endings) is one
// atomic step of the store, so any number of Managers may share one.
//
// # Lifecycle
//
//	            first access          no access for
//	            after creation        the active window
//	┌─────────┐             ┌────────┐             ┌────────┐
//	│ Created │ ──────────> │ Active │ ──────────> │  Idle  │
//	└─────────┘             └────────┘             └────────┘
//	     │                    │    ^                 │    │
//	     │                    │    └─────────────────┘    │
//	     │                    │       reactivation        │
//	     │                    v                           │
//	     │               ┌─────────┐                      │
//	     └─────────────> │ Expired │ <────────────────────┘
//	                     └─────────┘
//
// The state is computed from the last access that was noted, never stored, so
// it cannot disagree with the deadlines. A session may be ended in any state:
// by logout, eviction, revocation or sign-in. What is expired or ended never
// comes back.
//
// # What is guaranteed
//
//   - An id opens a session only with its secret, of which the store has but the
//     SHA-256; and only for the principal who created it, with [Manager.Authorize]
//     and [Manager.Access]; and, if asked for, only from the same network or user
//     agent (see [Binding]).
//   - Whoever presents an unknown ref, a wrong secret or somebody else's id gets
//     the same error from the same look-ups: [ErrNotFound] itself.
//   - A new secret is one update of one record: at any moment the old id works or
//     the new one, and the old one never beyond its grace; see
//     [Manager.Regenerate].
//   - No update is lost, and none brings an ended session back.
//   - A session in use never ends for idleness, and one out of use ends at most
//     one [Policy.TouchInterval] after its idle timeout.
//   - The limit of sessions per user is never exceeded.
//   - An outage is [ErrUnavailable] and never looks like [ErrNotFound].
//   - Ids do not show in logs, errors, JSON or printed values; see [ID].
//
// Time is the store's: ages and states are reckoned from the stamp that came
// with the record, so the clocks of the processes need not agree.
package session
