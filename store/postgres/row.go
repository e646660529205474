package postgres

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// A row reads the columns of a result in their order, in the binary format of
// the protocol: written out, since reading is most of what the client does.
// The bytes are valid until the next row; what the methods return is not tied
// to them. The first error stays.
type row struct {
	values [][]byte
	next   int
	err    error
}

func (r *row) raw() []byte {
	if r.next >= len(r.values) {
		r.fail("too few columns")
		return nil
	}
	v := r.values[r.next]
	r.next++
	return v
}

func (r *row) fail(why string) {
	if r.err == nil {
		r.err = corrupt(fmt.Sprint(r.next), fmt.Errorf("%s", why))
	}
}

func (r *row) text() string { return string(r.raw()) }

// int reads a number of any size; NULL is 0.
func (r *row) int() int64 {
	v := r.raw()
	switch len(v) {
	case 0:
		return 0
	case 2:
		return int64(int16(binary.BigEndian.Uint16(v)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	}
	r.fail("not a number")
	return 0
}

// zero is where PostgreSQL counts microseconds from.
var zero = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// time reads a timestamptz; NULL is the zero time.
func (r *row) time() time.Time {
	v := r.raw()
	if v == nil {
		return time.Time{}
	}
	if len(v) != 8 {
		r.fail("not a time")
		return time.Time{}
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(v)) + zero).UTC()
}

// fill reads a bytea into dst, which NULL leaves as it is.
func (r *row) fill(dst []byte) {
	v := r.raw()
	switch {
	case v == nil:
	case len(v) != len(dst):
		r.fail("of another length")
	default:
		copy(dst, v)
	}
}

// json returns the text of a jsonb, which is valid until the next row.
func (r *row) json() []byte {
	v := r.raw()
	if len(v) == 0 || v[0] != 1 {
		r.fail("not jsonb of version 1")
		return nil
	}
	return v[1:]
}

// address reads an inet; NULL is the zero address.
func (r *row) address() netip.Addr {
	v := r.raw()
	if v == nil {
		return netip.Addr{}
	}
	if len(v) < 4 {
		r.fail("not an address")
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(v[4:])
	if !ok {
		r.fail("not an address")
	}
	return a
}

func (r *row) user() string {
	user, err := unescapeUser(r.text())
	if err != nil && r.err == nil {
		r.err = err
	}
	return user
}
