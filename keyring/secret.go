package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// SecretSize is the length of key material in bytes.
const SecretSize = 32

const redacted = "[redacted]"

// A Secret is 32 bytes of key material. However it is printed, logged or
// marshalled, the bytes do not show. The zero Secret has none.
type Secret struct {
	// A function, since package fmt prints the fields of structs that hold a
	// Secret without asking it, and follows pointers.
	reveal func() *[SecretSize]byte
}

func secretOf(b *[SecretSize]byte) Secret {
	return Secret{func() *[SecretSize]byte { return b }}
}

func newSecret(rand io.Reader) (Secret, error) {
	var b [SecretSize]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return Secret{}, fmt.Errorf("read random bytes for a key: %w", err)
	}
	return secretOf(&b), nil
}

// SecretFromBytes copies b, which must have [SecretSize] bytes and come from a
// cryptographically secure source; else [ErrMalformedKey].
func SecretFromBytes(b []byte) (Secret, error) {
	if len(b) != SecretSize {
		return Secret{}, ErrMalformedKey
	}
	copied := [SecretSize]byte(b)
	return secretOf(&copied), nil
}

// Bytes returns a copy of the material, nil for the zero Secret.
func (s Secret) Bytes() []byte {
	if s.IsZero() {
		return nil
	}
	return append([]byte(nil), s.reveal()[:]...)
}

// IsZero reports whether there is no material.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Equal compares in constant time. Zero Secrets equal nothing.
func (s Secret) Equal(other Secret) bool {
	return !s.IsZero() && !other.IsZero() && subtle.ConstantTimeCompare(s.reveal()[:], other.reveal()[:]) == 1
}

// derive returns another secret, from which s cannot be computed.
func (s Secret) derive(info string) Secret {
	b, err := hkdf.Key(sha256.New, s.reveal()[:], nil, "coatcheck/1/"+info, SecretSize)
	if err != nil {
		// Only for lengths that are not used here, or without material,
		// which is a fault of this package.
		panic("keyring: derive a key: " + err.Error())
	}
	return secretOf((*[SecretSize]byte)(b))
}

// String does not show the material; nor do the methods below.
func (s Secret) String() string { return redacted }

// Format implements [fmt.Formatter] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
