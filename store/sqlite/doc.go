// Package sqlite is the store for one machine: a single file, no server.
//
// It implements [state.Store] and [state.EventStore] completely. Every
// acknowledged write has been synced to disk ([state.Synced]): the database is
// in WAL mode with synchronous=FULL. Writes of concurrent callers are committed
// together by one writer, so that many callers share one sync, and each still
// gets its own result. Reads run beside it on connections of their own, and
// repeated ones are answered from memory.
//
// # Several processes
//
// Any number of processes on the machine may open the same file: a server and
// the command line, or several replicas. Operations are linearizable across all
// of them. The cache in memory does not weaken that: on every Get the store
// looks, in the shared memory that SQLite itself uses for it, whether anything
// was committed since, and drops what changed. So a revocation by another
// process is seen by the very next Get. The file must be on a local disk, since
// SQLite's locks and shared memory do not work over network file systems.
//
// Operators may read the file with any SQLite tool; the view sessions is made
// for it. Triggers see to it that a record which is deleted or changed there is
// noticed like any other: DELETE FROM records ends sessions as a revocation
// does.
//
// # Time
//
// The store's clock is the wall clock when the store is opened, carried forward
// by the monotonic clock, so that setting the machine's clock ends no session
// early and makes none live longer. Processes that opened the file before and
// after such a setting differ by it until they are restarted.
//
// # Failures
//
// A full disk is [state.ErrFull]: nothing was written, reads go on, and so do
// writes as soon as there is room. A lock that another process holds for longer
// than [Options.BusyTimeout] is [state.ErrUnavailable]. If a commit fails in a
// way that leaves its frames in the log, the store overwrites them; only if
// that fails too is the outcome unknown.
package sqlite
