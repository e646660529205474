// Package encrypted wraps a store so that whoever reads its disk, its backups
// or its network sees neither data nor people. It is itself a [state.Store] and
// a [state.EventStore], and keeps the same contract.
//
// # What is sealed
//
// User, address, user agent, protocol version, capabilities and data of a
// record, as one message in [state.Record.Sealed] of the inner record, whose
// other content is empty; and each stored event. The cipher is XAES-256-GCM,
// the keys come from a [keyring.Ring].
//
// # What is clear
//
// Namespace, kind, ref, version, revision, epoch, owner, all times, the hashes
// of the secrets, operation ids, the name of the key, sizes (to the byte), the
// names of event streams, and who ended a record and why (By, which operators
// fill in). In place of the user stands a token: a keyed hash of namespace and
// user, which is also the nonce under which the user itself is encrypted
// (HMAC-SHA-256 and AES-256-CTR, a synthetic IV). Equal users of a namespace
// have equal tokens, so that limits and look-ups by user work and one sees
// which records belong together, but not to whom; length shows in steps of 32
// bytes. The token is there so that a tombstone can name the user that it had.
// A user of more than [MaxNamedUser] bytes is only hashed, and an [state.End]
// from a tombstone, a Delete or a Sweep then has no user. A record without a
// user has no token. The routing byte of a ref is as secret as the key it was
// computed with: give the session manager [keyring.Ring.Stable] of
// [keyring.Routing].
//
// Since the address is sealed, a List by address is a [*state.UnsupportedError].
//
// # What is noticed
//
// Each message is bound to what is clear: the name of the key, namespace, kind,
// ref, version, the token, the hash of the secret and, once a process has read
// it, the time of creation. So changed bytes, and sealed parts that were moved
// to another record or version, are [ErrTampered]; a hash of another secret,
// by which someone would take a session over, and another previous secret are
// too. A key that is not in the ring is [ErrUnknownKey], one that was revoked
// [ErrRevokedKey], a record that is not sealed at all [ErrNotSealed]. None of
// them returns data, and [Options.OnRefusal] hears of each. Events are bound to
// their record, stream and index.
//
// # Deadlines
//
// The contract has the store compute deadlines by its own clock, and lets Touch
// and Extend change them without a new version, that is without a new message:
// they cannot be bound, and neither can LastAccessed, owner, epoch and the end
// of a grace period. Who can write to the store can prolong a session. What can
// be had is a bound: with [Options.MaxLifetime] a record that claims to live
// longer than that from its sealed time of creation is [ErrTampered]. What a
// Create seals as that time is this process's clock, as the store's is not known
// yet; [Options.ClockTolerance] says how far the two may be apart. From the
// first Update on, and for an Import, it is the store's to the millisecond.
//
// # What is not noticed
//
// No cipher tells that somebody put a whole older record back, or a deleted one,
// or dropped one: every part of it fits. A process that has seen a newer version
// remembers so, for as many records as [Options.Remember] says, and answers
// [ErrRolledBack]; others do not notice. The last events of a stream can be cut
// off. Whoever reads the memory of the process reads everything.
//
// # Costs
//
// An Update reads the record first, since what it does not replace is sealed
// together with what it does; so it takes two round trips. Sealed bytes do not
// count in [state.Size]: the bound is that of the plain record. To an event
// sealing adds 82 bytes, which [state.Guarantees.EventOverhead] says.
//
// # Rotation
//
// New records and updates are sealed with the active key. [Store.Reencrypt]
// seals the others anew, in the background, so that the old key can be revoked.
// Tokens do not change with keys: what they are computed with is the root of
// the ring. If that is to change, migrate to a new namespace or store. Events
// are not sealed anew; they end with their record.
//
// # From a plain store
//
// Move the records by export and import (or `coatcheck store migrate`) into
// another namespace or store: that seals the users too.
// [Options.AcceptPlain] instead lets plain records live on until they end.
package encrypted
