package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// MinSecretBytes is the least entropy of a secret (OWASP ASVS 5.0, 7.2.3).
	MinSecretBytes = 16
	// MaxSecretBytes bounds what ParseID reads.
	MaxSecretBytes = 64
)

// refChars is the length of a [state.Ref] in text.
const refChars = 28

// MaxIDLength is the length of the longest id in text.
var MaxIDLength = refChars + 1 + secretEncoding.EncodedLen(MaxSecretBytes)

// secretEncoding has only characters that may stand in a header, a cookie and
// a URL.
var secretEncoding = base64.RawURLEncoding

// An ID is what a client holds: "<ref>.<secret>". Whoever has it can use the
// session, so it shows itself only through [ID.Reveal]: printing, logging and
// marshalling write the ref and "[redacted]".
//
// The zero ID is none. IDs are immutable; compare them with [ID.Equal].
type ID struct {
	ref state.Ref
	// The function keeps the secret from whatever prints by reflection: fmt,
	// for one, cannot call the methods of an ID in an unexported field.
	open func() secret
}

type secret struct {
	bytes []byte
	hash  state.Hash
}

func newID(ref state.Ref, raw []byte) ID {
	s := secret{bytes: raw, hash: sha256.Sum256(raw)}
	return ID{ref: ref, open: func() secret { return s }}
}

// ParseID reads what a client presents. It accepts exactly what [ID.Reveal]
// writes, with a secret of 16 to 64 bytes; anything else is [ErrMalformedID],
// which does not repeat the text. Its cost is bounded, however long the text.
func ParseID(text string) (ID, error) {
	if len(text) > MaxIDLength || len(text) <= refChars || text[refChars] != '.' {
		return ID{}, ErrMalformedID
	}
	ref, err := state.ParseRef(text[:refChars])
	if err != nil {
		return ID{}, ErrMalformedID
	}
	raw, err := parseSecret(text[refChars+1:])
	if err != nil {
		return ID{}, err
	}
	return newID(ref, raw), nil
}

func parseSecret(text string) ([]byte, error) {
	raw, err := secretEncoding.DecodeString(text)
	if err != nil || len(raw) < MinSecretBytes || len(raw) > MaxSecretBytes {
		return nil, ErrMalformedID
	}
	// One secret has one text: the decoder lets line breaks and stray bits pass.
	if secretEncoding.EncodeToString(raw) != text {
		return nil, ErrMalformedID
	}
	return raw, nil
}

// Ref returns the public half.
func (id ID) Ref() state.Ref { return id.ref }

// Reveal returns the id in the clear, for the one who may hold it: a response
// header or cookie. It is empty for the zero ID.
func (id ID) Reveal() string {
	if id.IsZero() {
		return ""
	}
	return id.ref.String() + "." + secretEncoding.EncodeToString(id.open().bytes)
}

// IsZero reports whether the ID is none.
func (id ID) IsZero() bool { return id.open == nil }

// Hash returns the SHA-256 of the secret, which is what stores keep. It is
// zero for the zero ID.
func (id ID) Hash() state.Hash {
	if id.IsZero() {
		return state.Hash{}
	}
	return id.open().hash
}

// Matches reports whether h is the hash of the secret, in constant time. The
// zero hash is nobody's.
func (id ID) Matches(h state.Hash) bool {
	own := id.Hash()
	same := subtle.ConstantTimeCompare(own[:], h[:]) == 1
	return same && !id.IsZero() && !h.IsZero()
}

// Equal reports whether both are the same id, in constant time.
func (id ID) Equal(other ID) bool {
	if id.IsZero() || other.IsZero() {
		return id.IsZero() && other.IsZero()
	}
	return id.Matches(other.Hash()) && id.ref == other.ref
}

// String returns the ref and, for the secret, "[redacted]".
func (id ID) String() string {
	if id.IsZero() {
		return "[none]"
	}
	return id.ref.String() + ".[redacted]"
}

// GoString is as redacted as [ID.String].
func (id ID) GoString() string { return "session.ID(" + id.String() + ")" }

// Format writes what [ID.String] returns, whatever the verb.
func (id ID) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, id.String()) }

// LogValue implements [slog.LogValuer], redacted.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText writes what [ID.String] returns, which [ParseID] refuses: a
// marshalled id is for reading, not for use.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalJSON is as redacted as [ID.MarshalText].
func (id ID) MarshalJSON() ([]byte, error) {
	return []byte(`"` + id.String() + `"`), nil
}

// UnmarshalText refuses: an id comes from [ParseID] alone, out of what a
// client presents.
func (id *ID) UnmarshalText([]byte) error { return errUnmarshalID }

// UnmarshalJSON refuses like [ID.UnmarshalText].
func (id *ID) UnmarshalJSON([]byte) error { return errUnmarshalID }

var errUnmarshalID = errors.New("session ids are not read back from storage: use ParseID on what the client presents")
