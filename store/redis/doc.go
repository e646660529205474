// Package redis keeps records in Redis 7.0 or newer, or in what speaks like it:
// a single server, a primary that sentinels watch, or a Redis Cluster. It
// implements [state.Store] and [state.EventStore] completely.
//
// # Keys
//
// All keys of one routing byte of a namespace have a hash tag in common, and so
// stand in one slot of a cluster. After the prefix, "{namespace.byte}:" and:
//
//	r:REF        the record: a fixed header, then names, secrets' hashes,
//	             metadata and data; or the tombstone
//	o            a sorted set of all records, live or expired, by ref
//	d:KIND       the records of a kind by deadline, in milliseconds
//	u:KIND:USER  the records of a user by creation
//	k            the kinds there are
//	t            tombstones by when they are due to be forgotten
//	q            the number of the last change
//	e:REF        a record's events
//
// REF stands for the 16 random bytes of a ref. No key has a time to live, since
// an expired record has to stay until a Sweep reports its end, and a tombstone
// until a Sweep forgets it. So a full server under a volatile-… policy refuses
// writes instead of forgetting; under an allkeys-… policy the store does not
// open.
//
// # Writes
//
// Each write is one Lua script: it judges deadlines, epoch, version and limits,
// changes record and indexes and numbers and publishes the change, or does none
// of that. Scripts read all they need before they write, so one that is refused
// or fails has written nothing; what takes no room (touches, deletes, sweeps)
// works on a full server too. A server that has forgotten the scripts, after a
// restart or SCRIPT FLUSH, is sent them again.
//
// The client never repeats a write by itself. An error from before it was sent,
// or with which the server refused it, is [state.ErrUnavailable] (a full server:
// [state.ErrFull]); a connection that broke or a deadline that passed while it
// was under way is [state.ErrUnknownOutcome], and Record.LastOp or End.Op tell
// what became of it. While a cluster moves a slot from node to node, writes to
// that slot are refused as unavailable for as long as that takes.
//
// A limit per user counts the records of that user with the same routing byte,
// as [state.CreateOp] has it. A total limit is exact on a single primary, which
// holds all tags. A cluster counts the other slots just before it creates, so
// there it may be exceeded by what is created at the same moment. Either costs
// some 255 look-ups for each Create that carries one.
//
// # Time
//
// The time is that of the server that holds the record, read within the script
// or right behind the record: the clock of the client does not matter. It never
// falls behind what the store has seen of that server before. Servers that fail
// over to one another should have their clocks synchronized;
// [Options.ClockError] declares how well.
//
// # Replicas and durability
//
// What an acknowledged write survives is what the server does for it:
// [state.Guarantees] says Synced with appendfsync always, Buffered with
// everysec, Volatile without an append-only file; a cluster is as good as the
// least of its nodes. By default every write waits until enough replicas have it
// that they and the primary are the majority; see [Options.Replication]. A wait
// that fails is [state.ErrBelowLevel]: the primary has the write, and a Delete
// may be repeated until the replicas have it too. Replicas are those that are
// connected, unless [Options.Replicas] says how many there are to be.
//
// WAIT is no consensus. A failover may promote a replica that had not got a
// write, and what it confirmed can still be lost with it; a primary that was
// cut off may answer a few more reads from before. Redis offers no more.
//
// # Watch
//
// Changes are published on one channel for each namespace and numbered per
// routing byte. The store compares the numbers heard with those that the server
// has given, twice per beat, so that a lost message is noticed within about a
// second; a new connection is a Gap. Nothing depends on keyspace events.
package redis
