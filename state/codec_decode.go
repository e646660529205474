package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// maxPlainForm bounds the binary form but for Sealed: each data key costs at
// most its bytes, its value's and as many again for the lengths, and all other
// fields are bounded. maxRecordForm bounds all of it.
const (
	maxPlainForm  = 2*MaxRecordBytes + 8<<10
	maxRecordForm = maxPlainForm + MaxSealedBytes
)

// DecodeRecord is the reverse of [AppendRecord]. It accepts exactly what
// AppendRecord writes and returns [ErrCorrupt] for anything else, bytes left
// over included. Memory is taken only for what is there. Data is never nil,
// Remaining is zero. The record shares nothing with b.
//
// JSON values are not looked into.
func DecodeRecord(b []byte) (Record, error) { return decodeRecord(b, bytes.Clone) }

// DecodeOwnRecord is DecodeRecord for who has no other use for b: the JSON
// values and Sealed of the record are parts of it, which saves a copy.
func DecodeOwnRecord(b []byte) (Record, error) {
	return decodeRecord(b, func(b []byte) []byte { return b })
}

// decodeRecord decodes a record; own returns the memory of the values.
func decodeRecord(b []byte, own func([]byte) []byte) (Record, error) {
	if len(b) == 0 {
		return Record{}, corrupt("empty")
	}
	if b[0] > recordFormat {
		return Record{}, corrupt(fmt.Sprintf("format %d is not known: written by a newer release, use that", b[0]))
	}
	if b[0] != recordFormat {
		return Record{}, corrupt(fmt.Sprintf("format %d is not known", b[0]))
	}
	if len(b) > maxRecordForm {
		return Record{}, corrupt("too long")
	}
	size, n := uvarint(b[1:])
	if n == 0 || size > uint64(len(b)-1-n) {
		return Record{}, corrupt("length of the tail")
	}
	cut := len(b) - int(size)
	// One copy for all texts, one for all JSON values.
	d := decoder{head: string(b[1+n : cut]), tail: own(b[cut:])}
	r := d.record()
	switch {
	case d.failed != "":
		return Record{}, corrupt(d.failed)
	case len(d.head) > 0 || len(d.tail) > 0:
		return Record{}, corrupt("trailing bytes")
	}
	return r, nil
}

func corrupt(why string) error { return fmt.Errorf("decode a record: %w: %s", ErrCorrupt, why) }

// A decoder takes fields off head and tail. After a failure it returns zero
// values, so that only the end must be checked.
type decoder struct {
	head   string
	tail   []byte
	failed string // what could not be decoded first
}

func (d *decoder) fail(what string) {
	if d.failed == "" {
		d.failed = what
	}
	d.head = ""
}

func (d *decoder) record() Record {
	var r Record
	r.Namespace = d.text("namespace", MaxNameBytes)
	r.Kind = d.text("kind", MaxNameBytes)
	copy(r.Ref.b[:], d.bytes("ref", refSize))
	if r.Ref.IsZero() {
		d.fail("ref")
	}
	r.User = d.text("user", MaxUserBytes)
	r.Owner = d.text("owner", MaxOwnerBytes)
	r.Version = d.uint("version")
	r.Revision = d.uint("revision")
	r.Epoch = d.uint("epoch")

	created := d.int("creation")
	r.Created = d.time("creation", 0, created)
	r.LastAccessed = d.time("last access", created, d.int("last access"))
	r.IdleDeadline = d.time("idle deadline", created, d.int("idle deadline"))
	r.AbsoluteDeadline = d.time("absolute deadline", created, d.int("absolute deadline"))

	d.optional(&r, created)
	r.Meta.UserAgent = d.text("user agent", MaxAgentBytes)
	r.Meta.ProtocolVersion = d.text("protocol version", MaxNameBytes)
	r.Data = d.data()
	if d.failed == "" && (CheckSize(&r) != nil || checkSealed(r.Sealed) != nil) {
		d.fail("too large")
	}
	return r
}

// optional decodes the flags and what they announce. A field that is announced
// and yet zero is refused: it would have a second form.
func (d *decoder) optional(r *Record, created int64) {
	var f byte
	if b := d.bytes("flags", 1); b != "" {
		f = b[0]
	}
	if f&^byte(knownFlags) != 0 {
		d.fail("flags")
		return
	}
	if f&hasHash != 0 {
		copy(r.Secret.Hash[:], d.bytes("secret hash", len(r.Secret.Hash)))
	}
	if f&hasPrevious != 0 {
		copy(r.Secret.Previous[:], d.bytes("previous secret hash", len(r.Secret.Previous)))
	}
	if f&hasPreviousUntil != 0 {
		r.Secret.PreviousUntil = d.time("deadline of the previous secret", created, d.int("deadline of the previous secret"))
	}
	if f&hasAddress != 0 {
		r.Meta.Address, _ = netip.AddrFromSlice([]byte(d.text("address", 16)))
	}
	if f&hasCapabilities != 0 {
		r.Meta.Capabilities = d.value("capabilities")
	}
	if f&hasLastOp != 0 {
		copy(r.LastOp[:], d.bytes("last operation", len(r.LastOp)))
	}
	if f&hasSealed != 0 {
		r.Sealed = d.value("sealed content")
	}
	if d.failed == "" && flags(r) != f {
		d.fail("flags")
	}
}

func (d *decoder) data() map[string]json.RawMessage {
	n := d.uint("number of data keys")
	// A key takes at least its length, one byte and the length of its value.
	if n > uint64(len(d.head))/3+1 {
		d.fail("number of data keys")
		return nil
	}
	// Room is taken as keys come, not as many as were announced.
	data := make(map[string]json.RawMessage, min(n, 64))
	last := ""
	for i := range n {
		k := d.text("data key", MaxKeyBytes)
		if i > 0 && k <= last {
			d.fail("order of data keys")
		}
		v := d.value("data value")
		if d.failed != "" {
			return nil
		}
		data[k], last = v, k
	}
	return data
}

// value takes a length off the head and as many bytes off the tail.
func (d *decoder) value(what string) json.RawMessage {
	n := d.uint(what)
	if d.failed != "" || n > uint64(len(d.tail)) {
		d.fail(what)
		return nil
	}
	v := d.tail[:n:n] // appending to it must not overwrite the next
	d.tail = d.tail[n:]
	return v
}

func (d *decoder) text(what string, limit int) string {
	n := d.uint(what)
	if n > uint64(limit) {
		d.fail(what)
		return ""
	}
	return d.bytes(what, int(n))
}

func (d *decoder) bytes(what string, n int) string {
	if n > len(d.head) {
		d.fail(what)
		return ""
	}
	s := d.head[:n]
	d.head = d.head[n:]
	return s
}

func (d *decoder) uint(what string) uint64 {
	v, n := uvarint(d.head)
	if n == 0 {
		d.fail(what)
		return 0
	}
	d.head = d.head[n:]
	return v
}

func (d *decoder) int(what string) int64 {
	u := d.uint(what)
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

// time returns the moment that is so many milliseconds after from.
func (d *decoder) time(what string, from, after int64) time.Time {
	const span = maxMillis - minMillis
	if after < -span || after > span || from+after < minMillis || from+after > maxMillis {
		d.fail(what)
		return time.Time{}
	}
	return time.UnixMilli(from + after).UTC()
}

// uvarint is [binary.Uvarint] for text and bytes, but for refusing numbers
// that are not in their shortest form. It returns a length of zero then.
func uvarint[T string | []byte](b T) (v uint64, n int) {
	for i := range min(len(b), binary.MaxVarintLen64) {
		c := b[i]
		if c < 0x80 {
			if i > 0 && c == 0 || i == binary.MaxVarintLen64-1 && c > 1 {
				return 0, 0
			}
			return v | uint64(c)<<(7*i), i + 1
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	return 0, 0
}
