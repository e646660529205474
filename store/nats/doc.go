// Package nats keeps records in NATS JetStream 2.12 or newer: one server or a
// cluster. It implements [state.Store] and [state.EventStore] completely.
//
// # Streams and subjects
//
// The routing byte of a ref picks one of [Options.Streams] streams, named
// NAME-0 and so on, so that a user's records and their index stand in one. Of
// each subject a stream keeps one message:
//
//	NAME-I.r.NAMESPACE.BYTE.REF    the record or its tombstone
//	NAME-I.u.NAMESPACE.BYTE.HASH   which records a user has
//	NAME-I.e.NAMESPACE.BYTE.REF    which events a record has
//	NAME-I.p.NAMESPACE.BYTE.REF.N  pieces of them
//	NAME-I.s.NAMESPACE             tells that a life was shortened
//	NAME-I.clock.ID                asks for the time
//
// # Writes
//
// Each write is compared with the sequence of what was read, by the server, and
// what changes together (a record, its user's index, those that are evicted) is
// one atomic batch. What meets a conflict reads and decides again, until the
// operation's time is over. So does what meets a stream without a leader, which
// the server says, and nothing is written: one that ends in order is followed by
// another at once. Then it is [state.ErrUnavailable]. What gets no answer, since
// a leader that ends takes it along or leaves it to the next, or is refused
// without a reason that can be seen, since a leader that was cut off does not
// know of its successor, is looked for by an id in its header, and sent again
// with the same conditions if it is not there: it is written once at most. Only
// if that does not tell is it [state.ErrUnknownOutcome]. Nothing else is ever
// repeated.
//
// A total limit is judged before the Create, and may be exceeded by what is
// created at the same moment. While the streams hold fewer records and tombstones
// than the limit, asking each for a number is enough; else all records of the
// namespace are read, once for all who ask meanwhile. A List of no user's in
// particular reads all of a namespace too.
//
// Sweep asks for the names of all records and tombstones, and reads each once and
// when it may be due: what it read before it remembers, in some 60 bytes each. If a
// server lost writes that it had acknowledged, a record that they prolonged may be
// ended as much later.
//
// # Reads
//
// All reads are answered by the leader of the stream. JetStream has no read
// index: a leader that was cut off, or stopped, answers what it has until it
// hears that another was elected. So with several replicas what is read counts
// only within a lease that a majority has renewed, and if nobody can take
// himself for the leader of before; else it is confirmed by a write that changes
// nothing, as long as a server is away that led the stream. Without a majority
// nothing can be read. While leaders do not change, reads show the last write; in
// any case they are not older than 2.5 seconds, which Guarantees declares: with one
// exception, that a stream without room takes no write that confirms, and then a
// leader of before that wakes may be believed for the moment until it hears.
//
// # Time
//
// The time is that of the servers, by the time with which a leader stored a
// message of the store's own, counted on by the process's clock. The clocks of
// a cluster's servers should be synchronized; [Options.ClockError] declares how
// well.
//
// Messages have a TTL in every write: the deadline, and [Options.Unswept] on
// top. It is for stores that nobody sweeps any more. What counts is the exact
// deadline in the record, and a record that expired stays until a Sweep reports
// it, if that comes within Unswept. A record with events has no TTL: they are
// removed with it, by a Sweep.
//
// # Replicas and mirrors
//
// With one replica a write is acknowledged by its one server, and is as durable
// as that is set up: with the default sync_interval, a loss of power loses the
// last two minutes; sync_interval always loses nothing. With three, the majority
// has a write that was acknowledged. If all of them lose power at once the same
// counts.
//
// With [state.ReplicateLeader] a stream has one replica, and mirrors on other
// servers, NAME-I-m1 and so on, which follow: one server acknowledges a write, and
// the mirrors have it some milliseconds later. While that server is away its
// streams are unavailable, and when it comes back all is there. If it is lost for
// good an operator puts a mirror in its place ([Promote], coatcheck store promote).
// What that had not got is lost, which may be what was acknowledged in the last
// moment, or since the mirror was last reached. The mirror keeps its name, so the
// store asks the servers which stream has the subjects of NAME-I. A server that
// was given up must not come back but with an empty store: until it has heard that
// its streams are gone it would answer, too.
//
// Where a stream is placed is for the servers to decide, so a mirror is made on as
// many as can be, led by a server that has no copy yet, and left on that alone.
// Mirrors follow what is written, not what is removed: the store removes that from
// them. A tombstone is not forgotten before all mirrors have it. A mirror that was
// away for longer than the TTL of tombstones, [state.TombstoneTTL] and
// [Options.Unswept], may have missed some for good: Promote, before it comes back,
// has it made anew.
//
// With [state.ReplicateAll] the store asks the leader after each acknowledgement,
// until it says that all replicas have stored what is committed; those who write
// at the same time ask together. A write that a replica does not get within the
// deadline is a [state.BelowLevelError]: the majority has it, and a Delete may be
// repeated until all have it. Sweeps do not wait. A replica that was away for so
// long that the leader has dropped that part of its log gets a copy instead: for a
// moment, between what the copy is to have and its first message, the leader
// takes it for complete.
package nats
