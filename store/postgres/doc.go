// Package postgres keeps records in a PostgreSQL database, the one that an
// operator already runs: version 15 or newer.
//
// It implements [state.Store] and [state.EventStore] completely. Any number of
// processes may share a database, each operation is linearizable across all of
// them, and limits are exact, the total too. [Store.Find] reaches into the data
// of records with JSON paths, SQL conditions and joins.
//
// # Round trips
//
// What concurrent callers of Get ask for is asked in one round trip, and what
// they write is written in one statement, which is one transaction: they share
// one commit, and each still gets its own result. A caller who is alone does
// not wait for others, and one who gives up takes nobody along. Two groups may
// be under way, each with its share of the callers; between two there is a pause
// for them to come back, of an eighth of what the last took, a millisecond at
// most. Rows are locked
// in the order of their keys and advisory locks before rows, so that writers do
// not deadlock; a sweep waits for no lock at all. Since each transaction is a
// single statement, a client that stalls never holds a lock.
//
// # Data model
//
// The tables are in the schema that [Options] names. Open creates and upgrades
// them under an advisory lock, so that any number of replicas may start at
// once, and refuses a schema of a newer release. Every time is a timestamptz
// cut to the millisecond, by the clock of the server.
//
// sessions has a row for each record that has not ended, expired ones too:
//
//   - namespace and id are the key; id is the ref, never a secret.
//   - kind, and user_id: the user as text; see [EscapeUser] for users that are
//     none. Empty without a user.
//   - data is a JSON object of the record's values. jsonb keeps numbers exactly
//     and drops spaces, the order of keys and double keys. Values with numbers
//     that it would round, refuse or blow up (1e100000) are in opaque instead, a
//     JSON object too, which SQL conditions do not see.
//   - sealed is what store/encrypted keeps in place of the metadata and data.
//   - created_at and last_accessed.
//   - idle_deadline and absolute_deadline: the record has expired when either is
//     reached.
//   - expires_at is not later than the earlier deadline: it is that when the
//     record is created, imported or extended. A touch moves the deadline but
//     not expires_at, which is indexed: so touches are HOT updates, which write
//     to no index. A sweep looks at rows whose expires_at is reached, ends those
//     that have expired and moves expires_at of the others. To see what is live
//     and until when, select from the view live_sessions.
//   - version, revision, epoch and owner; secret_hash, previous_hash,
//     previous_until and last_op.
//   - ip_address, user_agent, protocol_version and capabilities, JSON as the
//     client sent it.
//   - user_size, meta_size and data_size, for the bound on a record.
//
// The indexes idx_sessions_user_id and idx_sessions_expires_at serve limits,
// lists by user, and sweeps. session_ends holds the tombstones, session_streams
// and session_events the events, session_totals the number of rows for each
// kind, in slots. Rows are to be read at will. Who deletes some by hand leaves
// no tombstone and a wrong total: end sessions through a Store.
//
// # Watch
//
// Each transaction notifies of its changes at its commit, in one notification
// if they fit into it. All watches of a store share one connection that
// listens, outside of the pool. It is probed while nothing comes, so that a
// watch beats only while the server answers; when the connection is lost,
// watches report a Gap, and another when it is back.
//
// # Failures
//
// A server that is gone and a pool without a free connection are
// [state.ErrUnavailable] within the context's deadline, and everything goes on
// by itself when they are back. A write whose answer was lost is
// [state.ErrUnknownOutcome]; nothing is repeated that may have been done. A full
// disk is [state.ErrFull].
//
// # Replication
//
// [Options.Replication] says when a write is acknowledged. When its time is over
// while the primary waits for its standbys, the wait is ended there and the
// write is [state.ErrBelowLevel]. With several hosts in the URL the store
// follows a promotion.
//
// # Poolers
//
// The store needs connections of its own: prepared statements and LISTEN do not
// work through PgBouncer in transaction mode, and Open refuses any such pooler.
// The pool of the store does its work: a few connections carry all callers.
package postgres
