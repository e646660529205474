package state

import (
	"bytes"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
)

// refSize is one routing byte and 128 random bits.
const refSize = 17

// refText is the length of a Ref in text: 136 bits, five to a character.
const refText = 28

// refEncoding is base32 with the extended hex alphabet in lower case: it keeps
// the byte order, has no character that a shell, a URL, a NATS subject or a
// file name treats specially, and never starts with a dash.
var refEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// ErrMalformedRef is returned for text that is not a Ref.
var ErrMalformedRef = errors.New("malformed ref")

// A Ref names a record in stores, logs, the command line and the console. It
// is public: whoever holds it can talk about a session but not use it. It
// never changes for the life of the record and is never used twice.
//
// The first byte routes: records of one user share it, so that a sharded
// backend can keep a user's records and their index together. The other 16
// bytes are random.
//
// Refs are comparable and ordered by [Ref.Compare]; their text orders the same
// way. The zero Ref names nothing.
type Ref struct{ b [refSize]byte }

// NewRef returns a Ref with the given routing byte and 16 bytes read from
// rand, which must be cryptographically secure.
func NewRef(routing byte, rand io.Reader) (Ref, error) {
	var r Ref
	r.b[0] = routing
	if _, err := io.ReadFull(rand, r.b[1:]); err != nil {
		return Ref{}, fmt.Errorf("read random bytes for a ref: %w", err)
	}
	return r, nil
}

// ParseRef reads the text form. It accepts exactly what [Ref.String] writes
// and returns [ErrMalformedRef] for anything else; the error does not repeat
// the text, which may be hostile or secret.
func ParseRef(text string) (Ref, error) {
	var r Ref
	err := r.UnmarshalText([]byte(text))
	return r, err
}

// RefFromBytes is the reverse of [Ref.Bytes].
func RefFromBytes(b []byte) (Ref, error) {
	var r Ref
	if len(b) != refSize {
		return Ref{}, ErrMalformedRef
	}
	copy(r.b[:], b)
	if r.IsZero() {
		return Ref{}, ErrMalformedRef
	}
	return r, nil
}

// String returns the 28 characters of the text form: lower-case letters up to
// v, and digits.
func (r Ref) String() string { return refEncoding.EncodeToString(r.b[:]) }

// Bytes returns the 17 bytes of the Ref.
func (r Ref) Bytes() []byte { return append([]byte(nil), r.b[:]...) }

// AppendBinary implements [encoding.BinaryAppender]: it appends what Bytes
// returns. It never fails.
func (r Ref) AppendBinary(b []byte) ([]byte, error) { return append(b, r.b[:]...), nil }

// Routing returns the routing byte.
func (r Ref) Routing() byte { return r.b[0] }

// IsZero reports whether r is the zero Ref.
func (r Ref) IsZero() bool { return r == Ref{} }

// Compare orders refs as [bytes.Compare] orders their bytes.
func (r Ref) Compare(other Ref) int { return bytes.Compare(r.b[:], other.b[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; see [ParseRef].
func (r *Ref) UnmarshalText(text []byte) error {
	if len(text) != refText {
		return ErrMalformedRef
	}
	// Room for the four unused bits that 28 characters carry.
	var buf [refSize + 1]byte
	if n, err := refEncoding.Decode(buf[:], text); err != nil || n != refSize {
		return ErrMalformedRef
	}
	parsed := Ref{b: [refSize]byte(buf[:refSize])}
	// One Ref has one text: the unused bits must be zero.
	if parsed.IsZero() || parsed.String() != string(text) {
		return ErrMalformedRef
	}
	*r = parsed
	return nil
}

// A Key is where a record stands in a store: its namespace and its Ref. Kinds
// share the refs of a namespace.
type Key struct {
	Namespace string
	Ref       Ref
}

// String returns namespace and ref, for messages.
func (k Key) String() string { return k.Namespace + "/" + k.Ref.String() }
