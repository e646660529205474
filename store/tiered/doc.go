// Package tiered puts caches before a store. A [Store] is a [state.Store] like
// the one it wraps, event store and all, and answers repeated reads from the
// first cache that has a copy.
//
// # What it guarantees
//
// Within the process it is coherent: a Get that begins after a write of this
// process was acknowledged returns that write or a newer one, since every copy
// that the write made old is dropped before the write is acknowledged. A Fill
// with what was read before is refused by its revision.
//
// What other processes write is learned from the Watch of the store below,
// normally within milliseconds. When that fails, three bounds hold, each by
// itself:
//
//   - No copy is returned that was read longer ago than [Options.Staleness],
//     by this process's monotonic clock, whatever the watch says or does not
//     say. That is the bound that Guarantees declares, on top of the inner
//     store's. It holds with the network cut.
//   - A watch that says nothing for three beats is taken for lost: the caches
//     are bypassed at once, dropped, and used again when the watch is back.
//   - So it is after a Gap.
//
// Touches are not reported by a watch. A copy shows those of other processes
// within the bound; a copy whose deadline seems to be over is read again from
// the store before it is refused, so a touched session is never turned away.
//
// A write whose outcome is not known, or that lost against another writer,
// puts its record in doubt: copies that were read before are not returned.
//
// # What it leaves alone
//
// List, Watch, Sweep, events and all writes go to the store below. Caches that
// fail are passed by, and [Options.OnError] hears of it; no error of a cache
// ever reaches a caller.
package tiered
