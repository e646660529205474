package redis

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// The form of a record, which scripts read and change without decoding the
// rest. Numbers are big-endian, times Unix milliseconds.
//
//	0   'R' and the format, 1
//	2   version and revision, 8 bytes each
//	18  the last operation, 16 bytes; length of the data and their size as
//	    state.Size counts them, 4 bytes each
//	42  epoch, created, last accessed, idle deadline, absolute deadline: 8 bytes
//	    each
//	82  length of kind (1), user (2), owner (2) and metadata (4), and size of
//	    the metadata (4)
//	95  kind, user, owner
//	    until when the previous secret counts (0: never), 8 bytes; the hash of
//	    the secret and that of the previous one, 32 bytes each
//	    metadata, data; what follows them means nothing
//
// What an update changes stands together, and what scripts read before that:
// the less of a record they take, the quicker they are.
//
// Metadata and data are each a record in the form of [state.AppendRecord] with
// nothing else in it, so that one can be replaced without reading the other.
// Sealed content goes with the data.
// Nothing stands for none.
//
// The form of a tombstone:
//
//	0    't' and the format, 1
//	2    version, created, last accessed, ended at: 8 bytes each
//	34   the operation, 16 bytes
//	50   length of kind (1), user (2), reason (1) and by (2)
//	56   kind, user, reason, by
const (
	numbersAt   = 2
	opAt        = 18
	dataSizeAt  = 34
	stampsAt    = 42
	lengthsAt   = 82
	fixedSize   = 95
	secretsSize = 72
	numbersSize = opAt - numbersAt
	stampsSize  = numbersSize + lengthsAt - stampsAt // with the numbers
	tombSize    = 56
	format      = 1
)

// The parts of a record as they are written.
type parts struct {
	work []byte // the operation and the lengths of data
	rest []byte // what follows the stamps
}

func partsOf(r *state.Record) (parts, error) {
	meta, err := encodeMeta(r.Ref, &r.Meta)
	if err != nil {
		return parts{}, err
	}
	size := dataSize(r.Data)
	data, err := encodeData(r.Ref, r.Data, r.Sealed, size)
	if err != nil {
		return parts{}, err
	}
	until := int64(0)
	if !r.Secret.PreviousUntil.IsZero() {
		until = r.Secret.PreviousUntil.UnixMilli()
	}
	b := make([]byte, 0, fixedSize-lengthsAt+len(r.Kind)+len(r.User)+len(r.Owner)+secretsSize+len(meta)+len(data))
	b = append(b, byte(len(r.Kind)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.User)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Owner)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(meta)))
	b = binary.BigEndian.AppendUint32(b, uint32(metaSize(&r.Meta)))
	b = append(b, r.Kind...)
	b = append(b, r.User...)
	b = append(b, r.Owner...)
	b = binary.BigEndian.AppendUint64(b, uint64(until))
	b = append(b, r.Secret.Hash[:]...)
	b = append(b, r.Secret.Previous[:]...)
	b = append(b, meta...)
	b = append(b, data...)
	return parts{work: appendWork(nil, r.LastOp, len(data), size), rest: b}, nil
}

// appendWork appends the operation, the length of encoded data and their size.
func appendWork(b []byte, op state.OpID, length, size int) []byte {
	b = append(b, op[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return binary.BigEndian.AppendUint32(b, uint32(size))
}

// whole returns a record with its stamps.
func (p parts) whole(s *state.Stamp) []byte {
	b := make([]byte, 0, lengthsAt+len(p.rest))
	b = append(b, 'R', format)
	b = binary.BigEndian.AppendUint64(b, s.Version)
	b = binary.BigEndian.AppendUint64(b, s.Revision)
	b = append(b, p.work...)
	b = binary.BigEndian.AppendUint64(b, s.Epoch)
	for _, t := range []time.Time{s.Created, s.LastAccessed, s.IdleDeadline, s.AbsoluteDeadline} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
	}
	return append(b, p.rest...)
}

func encodeMeta(ref state.Ref, m *state.Metadata) ([]byte, error) {
	if metaSize(m) == 0 && !m.Address.IsValid() && m.Capabilities == nil {
		return nil, nil
	}
	return state.AppendRecord(make([]byte, 0, 96+metaSize(m)), &state.Record{Ref: ref, Meta: *m})
}

// encodeData returns the binary form of data of that size, and what is sealed.
func encodeData(ref state.Ref, data map[string]json.RawMessage, sealed []byte, size int) ([]byte, error) {
	if len(data) == 0 && len(sealed) == 0 {
		return nil, nil
	}
	room := 96 + size + 8*len(data) + len(sealed)
	return state.AppendRecord(make([]byte, 0, room), &state.Record{Ref: ref, Data: data, Sealed: sealed})
}

func metaSize(m *state.Metadata) int { return state.Size(&state.Record{Meta: *m}) }

func dataSize(data map[string]json.RawMessage) int {
	n := 0
	for k, v := range data {
		n += len(k) + len(v)
	}
	return n
}

func milli(b []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC()
}

// parseStamps reads the stamps at now. They stand apart in a record, and one
// behind the other in an answer.
func parseStamps(numbers, b []byte, now time.Time) state.Stamp {
	s := state.Stamp{
		Version:          binary.BigEndian.Uint64(numbers),
		Revision:         binary.BigEndian.Uint64(numbers[8:]),
		Epoch:            binary.BigEndian.Uint64(b),
		Created:          milli(b[8:]),
		LastAccessed:     milli(b[16:]),
		IdleDeadline:     milli(b[24:]),
		AbsoluteDeadline: milli(b[32:]),
	}
	s.Remaining = s.Expires().Sub(now)
	return s
}

// parseHead reads a record up to its user and returns what follows it.
func parseHead(key state.Key, b []byte, now time.Time) (r state.Record, rest []byte, err error) {
	if len(b) < fixedSize || b[0] != 'R' || b[1] != format {
		return r, nil, corrupt(key, "header")
	}
	nkind, nuser := int(b[lengthsAt]), int(binary.BigEndian.Uint16(b[lengthsAt+1:]))
	if len(b) < fixedSize+nkind+nuser {
		return r, nil, corrupt(key, "names")
	}
	names := string(b[fixedSize : fixedSize+nkind+nuser])
	r = state.Record{
		Namespace: key.Namespace, Ref: key.Ref,
		Kind: names[:nkind], User: names[nkind:],
		Stamp: parseStamps(b[numbersAt:], b[stampsAt:], now),
	}
	return r, b[fixedSize+nkind+nuser:], nil
}

// parseRecord reads a whole record at now. It shares nothing with b.
func parseRecord(key state.Key, b []byte, now time.Time) (state.Record, error) {
	r, rest, err := parseHead(key, b, now)
	if err != nil {
		return r, err
	}
	copy(r.LastOp[:], b[opAt:])
	ndata := int(binary.BigEndian.Uint32(b[dataSizeAt:]))
	nowner, nmeta := int(binary.BigEndian.Uint16(b[lengthsAt+3:])), int(binary.BigEndian.Uint32(b[lengthsAt+5:]))
	if len(rest) < nowner+secretsSize+nmeta+ndata {
		return r, corrupt(key, "lengths")
	}
	r.Owner = string(rest[:nowner])
	rest = rest[nowner:]
	r.Secret = parseSecrets(rest).At(now)
	rest = rest[secretsSize:]
	return r, parseContent(&r, rest[:nmeta], rest[nmeta:nmeta+ndata])
}

func parseSecrets(b []byte) state.Secret {
	var s state.Secret
	if until := int64(binary.BigEndian.Uint64(b)); until != 0 {
		s.PreviousUntil = time.UnixMilli(until).UTC()
	}
	copy(s.Hash[:], b[8:])
	copy(s.Previous[:], b[40:])
	return s
}

func parseContent(r *state.Record, meta, data []byte) error {
	if len(meta) > 0 {
		m, err := state.DecodeRecord(meta)
		if err != nil {
			return fmt.Errorf("read the metadata of %v: %w", r.Key(), err)
		}
		r.Meta = m.Meta
	}
	if len(data) == 0 {
		r.Data = map[string]json.RawMessage{}
		return nil
	}
	d, err := state.DecodeRecord(data)
	if err != nil {
		return fmt.Errorf("read the data of %v: %w", r.Key(), err)
	}
	r.Data, r.Sealed = d.Data, d.Sealed
	return nil
}

// parseTomb reads a tombstone.
func parseTomb(key state.Key, b []byte) (state.End, error) {
	if len(b) < tombSize || b[0] != 't' || b[1] != format {
		return state.End{}, corrupt(key, "tombstone")
	}
	nkind, nuser := int(b[50]), int(binary.BigEndian.Uint16(b[51:]))
	nreason, nby := int(b[53]), int(binary.BigEndian.Uint16(b[54:]))
	if len(b) != tombSize+nkind+nuser+nreason+nby {
		return state.End{}, corrupt(key, "lengths of the tombstone")
	}
	e := state.End{
		Key:          key,
		Version:      binary.BigEndian.Uint64(b[2:]),
		Created:      milli(b[10:]),
		LastAccessed: milli(b[18:]),
		At:           milli(b[26:]),
	}
	copy(e.Op[:], b[34:])
	names := string(b[tombSize:])
	e.Kind, names = names[:nkind], names[nkind:]
	e.User, names = names[:nuser], names[nuser:]
	e.Reason, e.By = state.Reason(names[:nreason]), names[nreason:]
	return e, nil
}

// missing returns the error for a record that is not there; b is what stands
// in its place: nothing, a tombstone, or a record that has expired, up to its
// user at least.
func missing(key state.Key, b []byte, now time.Time) error {
	if len(b) == 0 {
		return &state.NotFoundError{}
	}
	if b[0] == 't' {
		end, err := parseTomb(key, b)
		if err != nil {
			return err
		}
		return &state.NotFoundError{End: &end}
	}
	r, _, err := parseHead(key, b, now)
	if err != nil {
		return err
	}
	return &state.NotFoundError{End: &state.End{
		Key: key, Kind: r.Kind, User: r.User, Version: r.Version, Created: r.Created,
		LastAccessed: r.LastAccessed, At: r.Expires(), Reason: r.Expiry(),
	}}
}

func corrupt(key state.Key, what string) error {
	return fmt.Errorf("read %v: %w: %s", key, state.ErrCorrupt, what)
}
