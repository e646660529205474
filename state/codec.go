package state

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// The binary form of a record. All integers are varints in their shortest
// form, signed ones in zigzag; text is its length and its bytes.
//
//	format    1 byte, 1
//	tail      length of the tail
//	head      Namespace, Kind, Ref (17 bytes), User, Owner,
//	          Version, Revision, Epoch,
//	          Created in Unix milliseconds, then LastAccessed, IdleDeadline
//	          and AbsoluteDeadline in milliseconds from Created,
//	          flags (1 byte), then what the flags announce, in their order,
//	          UserAgent, ProtocolVersion,
//	          number of data keys, then of each key in ascending order the
//	          key and the length of its value
//	tail      Capabilities, Sealed, then the values of the keys
//
// The texts stand together and the JSON values do, so that decoding copies
// each part once. A record has exactly one form.
//
// Formats are never changed once released: a change makes a new one with the
// next number. Each release writes the newest format and reads the one before
// too. Bounds of fields only ever grow.

// recordFormat is the newest format.
const recordFormat = 1

// The flags of format 1 announce fields that are often zero.
const (
	hasHash          = 1 << iota // 32 bytes
	hasPrevious                  // 32 bytes
	hasPreviousUntil             // milliseconds from Created
	hasAddress                   // length, 4 or 16, and bytes
	hasCapabilities              // length; the bytes are in the tail
	hasLastOp                    // 16 bytes
	hasSealed                    // length; the bytes are in the tail

	knownFlags = 1<<iota - 1
)

// AppendRecord appends the binary form of r to dst and returns the extended
// slice: a byte that names the format, then all of the record but Remaining.
// The form is deterministic. Times are cut to [Precision].
//
// It returns dst unchanged and [ErrTooLarge] or [ErrInvalid] for a record
// that no store accepts because of the bounds or the range of its fields; it
// does not look into JSON values.
func AppendRecord(dst []byte, r *Record) ([]byte, error) {
	if err := checkEncodable(r); err != nil {
		return dst, err
	}
	keys := slices.AppendSeq(make([]string, 0, len(r.Data)), maps.Keys(r.Data))
	slices.Sort(keys)
	tail := len(r.Meta.Capabilities)
	for _, k := range keys {
		tail += len(r.Data[k])
	}
	tail += len(r.Sealed)

	b := append(dst, recordFormat)
	b = binary.AppendUvarint(b, uint64(tail))
	b = appendHead(b, r)
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, k := range keys {
		b = appendText(b, k)
		b = binary.AppendUvarint(b, uint64(len(r.Data[k])))
	}
	b = append(b, r.Meta.Capabilities...)
	b = append(b, r.Sealed...)
	for _, k := range keys {
		b = append(b, r.Data[k]...)
	}
	return b, nil
}

// appendHead appends the head up to the data keys.
func appendHead(b []byte, r *Record) []byte {
	b = appendText(b, r.Namespace)
	b = appendText(b, r.Kind)
	b = append(b, r.Ref.b[:]...)
	b = appendText(b, r.User)
	b = appendText(b, r.Owner)
	b = binary.AppendUvarint(b, r.Version)
	b = binary.AppendUvarint(b, r.Revision)
	b = binary.AppendUvarint(b, r.Epoch)

	created := millis(r.Created)
	b = binary.AppendVarint(b, created)
	b = binary.AppendVarint(b, millis(r.LastAccessed)-created)
	b = binary.AppendVarint(b, millis(r.IdleDeadline)-created)
	b = binary.AppendVarint(b, millis(r.AbsoluteDeadline)-created)

	b = append(b, flags(r))
	if !r.Secret.Hash.IsZero() {
		b = append(b, r.Secret.Hash[:]...)
	}
	if !r.Secret.Previous.IsZero() {
		b = append(b, r.Secret.Previous[:]...)
	}
	if !r.Secret.PreviousUntil.IsZero() {
		b = binary.AppendVarint(b, millis(r.Secret.PreviousUntil)-created)
	}
	if r.Meta.Address.IsValid() {
		address := r.Meta.Address.AsSlice()
		b = append(b, byte(len(address)))
		b = append(b, address...)
	}
	if r.Meta.Capabilities != nil {
		b = binary.AppendUvarint(b, uint64(len(r.Meta.Capabilities)))
	}
	if !r.LastOp.IsZero() {
		b = append(b, r.LastOp[:]...)
	}
	if len(r.Sealed) > 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Sealed)))
	}
	b = appendText(b, r.Meta.UserAgent)
	return appendText(b, r.Meta.ProtocolVersion)
}

func flags(r *Record) byte {
	var f byte
	for _, flag := range []struct {
		bit byte
		set bool
	}{
		{hasHash, !r.Secret.Hash.IsZero()},
		{hasPrevious, !r.Secret.Previous.IsZero()},
		{hasPreviousUntil, !r.Secret.PreviousUntil.IsZero()},
		{hasAddress, r.Meta.Address.IsValid()},
		{hasCapabilities, r.Meta.Capabilities != nil},
		{hasLastOp, !r.LastOp.IsZero()},
		{hasSealed, len(r.Sealed) > 0},
	} {
		if flag.set {
			f |= flag.bit
		}
	}
	return f
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func millis(t time.Time) int64 { return Cut(t).UnixMilli() }

// fieldBound is a text of a record with the bound that the codec holds it to.
type fieldBound struct {
	what string
	text string
	max  int
}

// checkEncodable refuses what [DecodeRecord] would refuse.
func checkEncodable(r *Record) error {
	if err := CheckSize(r); err != nil {
		return err
	}
	if err := checkSealed(r.Sealed); err != nil {
		return err
	}
	for _, f := range []fieldBound{
		{"namespace", r.Namespace, MaxNameBytes},
		{"kind", r.Kind, MaxNameBytes},
		{"user", r.User, MaxUserBytes},
		{"owner", r.Owner, MaxOwnerBytes},
		{"user agent", r.Meta.UserAgent, MaxAgentBytes},
		{"protocol version", r.Meta.ProtocolVersion, MaxNameBytes},
	} {
		if len(f.text) > f.max {
			return &BoundError{What: f.what, Size: len(f.text), Max: f.max}
		}
	}
	for k := range r.Data {
		if len(k) > MaxKeyBytes {
			return &BoundError{What: "data key", Size: len(k), Max: MaxKeyBytes}
		}
	}
	return checkEncodableRange(r)
}

func checkEncodableRange(r *Record) error {
	if r.Ref.IsZero() {
		return &InvalidError{What: "ref", Why: "zero"}
	}
	if r.Meta.Address.Zone() != "" {
		return &InvalidError{What: "address", Why: "has a zone"}
	}
	for _, t := range []time.Time{r.Created, r.LastAccessed, r.IdleDeadline, r.AbsoluteDeadline, r.Secret.PreviousUntil} {
		if ms := millis(t); ms < minMillis || ms > maxMillis {
			return &InvalidError{What: "record", Why: "has a time outside of the years 1 to 9999"}
		}
	}
	return nil
}

// The range of times, in Unix milliseconds: from the zero time to the end of
// the year 9999.
const (
	minMillis = -62_135_596_800_000
	maxMillis = 253_402_300_799_999
)
