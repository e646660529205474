package encrypted

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// An envelope is what stands before a message, in clear but bound to it:
//
//	format   1 byte
//	flags    1 byte
//	created  8 bytes, big-endian Unix milliseconds; 0 for an event
//	key      32 bytes, its name and zeros
//
// Nonce and ciphertext follow, as [keyring.Cipher] writes them. Formats are
// never changed once released; each release writes the newest and reads the one
// before too.
type envelope struct {
	created int64
	exact   bool // created is the store's, not that of who sealed
	keyID   string
}

const (
	envelopeFormat = 1

	flagExact = 1 << 0

	envelopeSize = 1 + 1 + 8 + keyring.MaxID
	// overhead is what sealing adds to a message, whatever the key.
	overhead = envelopeSize + keyring.Overhead
)

var (
	errShort  = errors.New("it is too short")
	errFormat = errors.New("its format is not known: written by a newer release, or changed")
)

func (e *envelope) append(b []byte) []byte {
	flags := byte(0)
	if e.exact {
		flags |= flagExact
	}
	b = append(b, envelopeFormat, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(e.created))
	var name [keyring.MaxID]byte
	copy(name[:], e.keyID)
	return append(b, name[:]...)
}

// parseEnvelope splits sealed into envelope and message.
func parseEnvelope(sealed []byte) (e envelope, head, message []byte, err error) {
	if len(sealed) < overhead {
		return e, nil, nil, errShort
	}
	if sealed[0] != envelopeFormat || sealed[1]&^byte(flagExact) != 0 {
		return e, nil, nil, errFormat
	}
	head, message = sealed[:envelopeSize], sealed[envelopeSize:]
	e.exact = head[1]&flagExact != 0
	e.created = int64(binary.BigEndian.Uint64(head[2:10]))
	e.keyID = string(bytes.TrimRight(head[10:], "\x00"))
	return e, head, message, nil
}

// appendBound appends text so that it cannot be taken for its neighbours.
func appendBound(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// KeyID returns the name of the key that sealed a record of the inner store, as
// it stands there; false for a record that is not sealed. The name is not
// authenticated: it is for those who count what still uses a key.
func KeyID(inner *state.Record) (string, bool) {
	if len(inner.Sealed) == 0 {
		return "", false
	}
	e, _, _, err := parseEnvelope(inner.Sealed)
	return e.keyID, err == nil
}
