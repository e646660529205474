package cluster

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Header is the request header that one member signs for another. A request of
// a client that carries it is refused.
const Header = "Coatcheck-Forward"

// headerVersion is the version of the header that is written; the first byte of
// it.
const headerVersion = 1

// A bodyKind says what a header says of the body.
type bodyKind byte

const (
	streamed bodyKind = iota // nothing: it is passed on as it comes
	digested                 // its digest
)

// A purpose says what a header was signed for: it is good for nothing else.
type purpose byte

const (
	forwarding purpose = iota // a client's request
	messaging                 // messages of [Node.Publish]
)

// An envelope is what the header says.
type envelope struct {
	purpose  purpose
	from, to state.Ref
	session  state.Ref // zero if there is none
	sequence uint64
	issued   time.Time // by the store's clock, to the millisecond
	client   netip.Addr
	body     bodyKind
	digest   [sha256.Size]byte // if digested
}

// The layout of an envelope of version 1: version, purpose and body kind, a
// byte each; the three refs; sequence and time, eight bytes each; a length byte
// and the client's address; the digest; the signature.
const (
	refBytes      = 17
	envelopeFixed = 3 + 3*refBytes + 8 + 8 + 1
	maxEnvelope   = envelopeFixed + 16 + sha256.Size + ed25519.SignatureSize
)

// maxHeader is the length of the longest header.
var maxHeader = base64.RawURLEncoding.EncodedLen(maxEnvelope)

var errHeader = errors.New("malformed")

// appendTo appends what is signed, but for the request.
func (e *envelope) appendTo(b []byte) []byte {
	b = append(b, headerVersion, byte(e.purpose), byte(e.body))
	for _, ref := range []state.Ref{e.from, e.to, e.session} {
		b, _ = ref.AppendBinary(b) // never fails
	}
	b = binary.BigEndian.AppendUint64(b, e.sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(e.issued.UnixMilli()))
	address := e.client.AsSlice()
	b = append(b, byte(len(address)))
	b = append(b, address...)
	if e.body == digested {
		b = append(b, e.digest[:]...)
	}
	return b
}

// seal returns the text of the header, signed for a request.
func (e *envelope) seal(key ed25519.PrivateKey, method, target string) string {
	b := e.appendTo(make([]byte, 0, maxEnvelope))
	b = append(b, ed25519.Sign(key, signed(b, method, target))...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// signed returns what the signature is of. No method contains a space.
func signed(envelope []byte, method, target string) []byte {
	const domain = "coatcheck forward\x00"
	b := make([]byte, 0, len(domain)+len(envelope)+len(method)+len(target)+1)
	b = append(b, domain...)
	b = append(b, envelope...)
	b = append(b, method...)
	b = append(b, ' ')
	return append(b, target...)
}

// open reads the text of a header. It returns the envelope with its bytes and
// signature, which nobody has verified yet.
func open(text string) (e envelope, raw, signature []byte, err error) {
	// The decoder skips line ends.
	if len(text) > maxHeader || strings.ContainsAny(text, "\r\n") {
		return e, nil, nil, errHeader
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < envelopeFixed+ed25519.SignatureSize || b[0] != headerVersion {
		return e, nil, nil, errHeader
	}
	raw, signature = b[:len(b)-ed25519.SignatureSize], b[len(b)-ed25519.SignatureSize:]
	if err := e.decode(raw); err != nil {
		return envelope{}, nil, nil, err
	}
	return e, raw, signature, nil
}

// decode is the reverse of appendTo: what it accepts has one form only.
func (e *envelope) decode(b []byte) error {
	e.purpose, e.body = purpose(b[1]), bodyKind(b[2])
	if e.purpose > messaging || e.body > digested {
		return errHeader
	}
	b = b[3:]
	for _, ref := range []*state.Ref{&e.from, &e.to, &e.session} {
		var err error
		if *ref, err = state.RefFromBytes(b[:refBytes]); err != nil && (ref != &e.session || !isZero(b[:refBytes])) {
			return errHeader
		}
		b = b[refBytes:]
	}
	e.sequence = binary.BigEndian.Uint64(b)
	millis := binary.BigEndian.Uint64(b[8:])
	if millis > maxMillis || e.sequence == math.MaxUint64 {
		return errHeader
	}
	e.issued = time.UnixMilli(int64(millis)).UTC()
	n := int(b[16])
	b = b[17:]
	if n > len(b) {
		return errHeader
	}
	if n > 0 {
		var ok bool
		if e.client, ok = netip.AddrFromSlice(b[:n]); !ok {
			return errHeader
		}
	}
	b = b[n:]
	switch {
	case e.body == streamed && len(b) == 0:
		return nil
	case e.body == digested && len(b) == sha256.Size:
		e.digest = [sha256.Size]byte(b)
		return nil
	}
	return errHeader
}

// maxMillis is a moment of the year 9999.
const maxMillis = 253_370_764_800_000

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
