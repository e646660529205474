// Package cluster makes replicas of a server into one: it knows who is there,
// in which of them a session is live, carries a request to that one, and takes
// over when it is gone.
//
// A [Node] is this process among its peers. [Join] writes its heartbeat record
// into the store that the replicas share anyway; there is nothing else to set
// up. One run of a replica under one record is an incarnation. Its name is the
// ref of the record, and the owner that session records carry. An incarnation
// never comes back: a process whose record was removed goes on as a new one.
//
//	place, err := node.Locate(ctx, record.Owner)
//	switch place.Where {
//	case cluster.Here:      // serve it
//	case cluster.Elsewhere: // node.Forward(w, r, place.Member, …)
//	case cluster.Free:      // node.Claim(ctx, key, record.Epoch), make it live
//	}
//
// # Who is there
//
// Each node extends its record once per beat, a third of [Options.Timeout], and
// reads those of the others as often. A member whose record did not change for
// the timeout has lapsed; whoever then needs one of its sessions retires it, by
// deleting its record. The time is counted on the observer's monotonic clock,
// and only while its own heartbeats are acknowledged: a store that stalls, or
// an observer that is cut off, retires nobody.
//
// A node whose own heartbeat has not been acknowledged for five sixths of the
// timeout is not confirmed, and stops before anybody else may take over: see
// [Node.Confirmed] and [Node.Lost].
//
// # What is safe
//
// None of this decides whose writes count. The store does: [Node.Claim] raises
// the epoch of the session's record in one step, and a write that carries an
// older epoch is fenced. So when a paused process wakes up, two may believe for
// a moment that a session is theirs, but the writes of one only are accepted.
// What the tools of the other did meanwhile outside of the store cannot be
// undone.
//
// # How a request gets there
//
// [Node.Forward] sends a request to the owner as it came, with one header
// signed by the sender's Ed25519 key, whose public half is in its heartbeat
// record. The header names both incarnations, the session, the method, the path
// and the digest of the body, and is accepted once. It says nothing of the user:
// the owner verifies the user's credentials itself. A request that carries the
// header is never forwarded again.
//
// What is not encrypted can be read and credentials in it taken, as between any
// client and server: outside of a trusted network advertise an https URL, with
// [Options.TLS] and [Options.Mutual].
package cluster
