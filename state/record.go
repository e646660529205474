package state

import (
	"encoding/json"
	"maps"
	"net/netip"
	"time"
)

// Bounds that every store shares. More is [ErrTooLarge].
const (
	// MaxRecordBytes bounds a record as [Size] measures it.
	MaxRecordBytes = 256 << 10
	// MaxUserBytes bounds [Record.User].
	MaxUserBytes = 512
	// MaxNameBytes bounds namespaces and kinds.
	MaxNameBytes = 64
	// MaxOwnerBytes bounds [Record.Owner] and the By of an operation.
	MaxOwnerBytes = 256
	// MaxAgentBytes bounds [Metadata.UserAgent].
	MaxAgentBytes = 1024
	// MaxKeyBytes bounds a key of [Record.Data].
	MaxKeyBytes = 256
	// MaxSealedBytes bounds [Record.Sealed]. It is what the largest record
	// takes in binary form, however many keys it has, and room for what
	// sealing adds.
	MaxSealedBytes = maxPlainForm + 1<<10
)

// TombstoneTTL is how long a store remembers that a record ended, so that a
// late write cannot bring it back and people can be told why it is gone. It
// outlives any request.
const TombstoneTTL = 24 * time.Hour

// Precision is the resolution of every time in a record. Stores cut finer
// times off, so that a record reads the same from each of them.
const Precision = time.Millisecond

// A Record is the state that one client left: a session, a handle, a task.
//
// Namespace, Kind, Ref, User and Created never change. Records that a store
// returns belong to the caller, maps included, but the bytes of the JSON
// values and of Sealed are shared and must not be written to.
type Record struct {
	Namespace string // separates deployments in one store; see [CheckName]
	Kind      string // what it is: "session", "basket"; a leading "_" marks the system's own
	Ref       Ref
	User      string // the principal; any bytes; empty for anonymous

	Stamp

	Secret Secret
	Meta   Metadata
	Data   map[string]json.RawMessage // never nil in a returned record
	// Sealed is content that a wrapper has encrypted, in place of Meta and
	// Data: any bytes, at most MaxSealedBytes, nil for none. Stores keep it
	// beside Data and look at neither. It does not count in [Size]: the
	// wrapper judges the record before it seals it.
	Sealed []byte
	Owner  string // the process in which it is live; empty for none
	LastOp OpID   // the operation that made this Version, if it had an ID
}

// Key returns where the record stands.
func (r *Record) Key() Key { return Key{Namespace: r.Namespace, Ref: r.Ref} }

// Clone returns a copy that shares nothing writable with r.
func (r *Record) Clone() Record {
	c := *r
	c.Data = maps.Clone(r.Data)
	if c.Data == nil {
		c.Data = map[string]json.RawMessage{}
	}
	return c
}

// A Stamp is the part of a record that the store computes. All times are UTC,
// by the store's clock, at [Precision].
type Stamp struct {
	// Version starts at 1 and rises by exactly one with each Update, by
	// nothing else. It is what Update compares.
	Version uint64
	// Revision rises with every write of the record, touches included. Of two
	// copies the one with the higher Revision is newer. It need not be
	// contiguous.
	Revision uint64
	// Epoch counts changes of owner. Zero: never owned.
	Epoch uint64

	Created      time.Time
	LastAccessed time.Time
	// IdleDeadline and AbsoluteDeadline both apply: the record has expired
	// when the store's clock has reached either.
	IdleDeadline     time.Time
	AbsoluteDeadline time.Time

	// Remaining is the lifetime left when the store answered. Callers count
	// it down on a monotonic clock instead of comparing deadlines with their
	// own wall clock.
	Remaining time.Duration
}

// Expires returns the earlier of the two deadlines.
func (s *Stamp) Expires() time.Time {
	if s.AbsoluteDeadline.Before(s.IdleDeadline) {
		return s.AbsoluteDeadline
	}
	return s.IdleDeadline
}

// Expired reports whether now has reached a deadline.
func (s *Stamp) Expired(now time.Time) bool { return !s.Expires().After(now) }

// Expiry names the deadline that ends the record: [ReasonIdle] or
// [ReasonAbsolute].
func (s *Stamp) Expiry() Reason {
	if s.IdleDeadline.Before(s.AbsoluteDeadline) {
		return ReasonIdle
	}
	return ReasonAbsolute
}

// A Hash is the SHA-256 of a secret. Stores never see the secret itself.
type Hash [32]byte

// IsZero reports whether there is no secret.
func (h Hash) IsZero() bool { return h == Hash{} }

// A Secret is what a presented secret is compared with.
type Secret struct {
	Hash Hash
	// Previous is the hash before the last rotation. It counts until
	// PreviousUntil by the store's clock; from then on stores return it as
	// zero.
	Previous      Hash
	PreviousUntil time.Time
}

// Metadata says where a session came from. It is what the server saw, not what
// it believes.
type Metadata struct {
	Address         netip.Addr      // the client's; the zero Addr if unknown
	UserAgent       string          // at most MaxAgentBytes
	ProtocolVersion string          // MCP revision
	Capabilities    json.RawMessage // the client's, a JSON value; nil for none
}

// An OpID marks one attempt at a write, so that a caller that lost the answer
// can see whether the write happened. The zero OpID marks nothing.
type OpID [16]byte

// IsZero reports whether the OpID marks nothing.
func (id OpID) IsZero() bool { return id == OpID{} }

// A Reason says why a record ended. The constants are those that Coatcheck
// gives; others are allowed, in the form of [CheckName].
type Reason string

const (
	ReasonLogout   Reason = "logout"           // the client or its user ended it
	ReasonIdle     Reason = "idle"             // not used for too long
	ReasonAbsolute Reason = "absolute"         // reached its absolute lifetime
	ReasonEvicted  Reason = "evicted"          // made room for a newer one of the same user
	ReasonRevoked  Reason = "revoked"          // an operator or administrator ended it
	ReasonBinding  Reason = "binding_mismatch" // presented by somebody else
	ReasonMigrated Reason = "migrated"         // moved to another store
	ReasonReplaced Reason = "replaced"         // its successor took over at sign-in
	ReasonFailed   Reason = "failed"           // it was never put to use
)

// An End is what is remembered of a record that is gone: the tombstone.
type End struct {
	Key          Key
	Kind         string
	User         string
	Version      uint64
	Created      time.Time
	LastAccessed time.Time
	At           time.Time // when it ended; for an expiry, the deadline
	Reason       Reason
	By           string // who ended it, for people; empty for an expiry
	Op           OpID   // the operation that ended it
}
