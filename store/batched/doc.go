// Package batched collects the writes that many callers want at the same time
// into few calls of Apply: for stores to which one call with a hundred
// operations is much cheaper than a hundred calls. A [Store] is a
// [state.Store] like the one it wraps, event store and all, and keeps its
// guarantees.
//
// While [Options.Groups] are on their way, whatever comes is collected; when one
// has returned, its share of what was collected is the next, after a moment for
// those who were just answered to come back: an eighth of what the last took, a
// millisecond at most. A caller who is alone goes straight through, with his own
// context, and groups grow by themselves with the load. Each caller returns when his own operations
// are stored, with his own results. Operations on one ref take effect in the
// order in which they came: no two groups on their way have a ref in common.
//
// A caller whose context ends while he waits for his group is told so, and
// nothing of his is written. If his group has been sent he is told the outcome
// if it comes soon, else [state.ErrUnknownOutcome]. He spoils nobody else's
// operations: a group is only given up when all of its callers are gone.
//
// # Write-behind
//
// With [Options.WriteBehind] touches are answered before they are stored; see
// [WriteBehind] for what that costs. No other operation ever is. The result of
// a write is final: that a ref was free, a limit not reached, a version the
// expected one. Only the store can say so, and only by doing it. A touch says
// nothing but that a live record was used, so it can be judged by reading the
// record, and the loss of one does no harm but that a session may end earlier
// by the time between two touches.
package batched
