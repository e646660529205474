package postgres

import (
	"encoding/binary"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Types of array elements, as PostgreSQL numbers them.
const (
	oidBool  = 16
	oidBytea = 17
	oidInt8  = 20
	oidInt2  = 21
	oidInt4  = 23
	oidText  = 25
)

// params are the parameters of a statement in the binary format of the
// protocol: written out, since a group of writes has dozens of them. They may
// be sent several times. A nil slice is NULL.
type params [][]byte

func (p *params) key(k state.Key) {
	p.text(k.Namespace)
	p.text(k.Ref.String())
}

func (p *params) text(s string) { *p = append(*p, []byte(s)) }

func (p *params) bytes(b []byte) { *p = append(*p, append([]byte{}, b...)) }

func (p *params) int8(n int64) { *p = append(*p, binary.BigEndian.AppendUint64(nil, uint64(n))) }

func (p *params) int4(n int) { *p = append(*p, binary.BigEndian.AppendUint32(nil, uint32(n))) }

// array adds an array whose elements take about room bytes; put appends an element, or reports that it is NULL.
func array[T any](p *params, oid uint32, room int, list []T, put func([]byte, T) ([]byte, bool)) {
	if list == nil {
		*p = append(*p, nil)
		return
	}
	if len(list) == 0 {
		*p = append(*p, arrayHead(0, 0, oid, 0))
		return
	}
	b := arrayHead(4*len(list)+room, 1, oid, len(list))
	for _, v := range list {
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		var ok bool
		if b, ok = put(b, v); !ok {
			b = b[:at+4]
			binary.BigEndian.PutUint32(b[at:], 1<<32-1)
			continue
		}
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	*p = append(*p, b)
}

// arrayHead is what comes before the elements: that there may be NULLs, and how
// many there are from index 1 on.
func arrayHead(room, dimensions int, oid uint32, n int) []byte {
	b := make([]byte, 0, 20+room)
	b = binary.BigEndian.AppendUint32(b, uint32(dimensions))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, oid)
	if dimensions == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return binary.BigEndian.AppendUint32(b, 1)
}

func (p *params) texts(list []string) {
	room := 0
	for _, s := range list {
		room += len(s)
	}
	array(p, oidText, room, list, func(b []byte, s string) ([]byte, bool) { return append(b, s...), true })
}

// opt is a value that may be NULL.
type opt[T any] struct {
	value T
	set   bool
}

func some[T any](v T) opt[T] { return opt[T]{v, true} }

func (p *params) optTexts(list []opt[string]) {
	array(p, oidText, 32*len(list), list, func(b []byte, s opt[string]) ([]byte, bool) { return append(b, s.value...), s.set })
}

// byteses adds bytea, or text that comes as bytes; nil is NULL.
func (p *params) byteses(oid uint32, list [][]byte) {
	room := 0
	for _, v := range list {
		room += len(v)
	}
	array(p, oid, room, list, func(b []byte, v []byte) ([]byte, bool) { return append(b, v...), v != nil })
}

func (p *params) int8s(list []int64) {
	array(p, oidInt8, 8*len(list), list, func(b []byte, n int64) ([]byte, bool) { return binary.BigEndian.AppendUint64(b, uint64(n)), true })
}

func (p *params) optInt8s(list []opt[int64]) {
	array(p, oidInt8, 8*len(list), list, func(b []byte, n opt[int64]) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(n.value)), n.set
	})
}

func (p *params) int4s(list []int32) {
	array(p, oidInt4, 4*len(list), list, func(b []byte, n int32) ([]byte, bool) { return binary.BigEndian.AppendUint32(b, uint32(n)), true })
}

func (p *params) optInt4s(list []opt[int32]) {
	array(p, oidInt4, 4*len(list), list, func(b []byte, n opt[int32]) ([]byte, bool) {
		return binary.BigEndian.AppendUint32(b, uint32(n.value)), n.set
	})
}

func (p *params) int2s(list []int16) {
	array(p, oidInt2, 2*len(list), list, func(b []byte, n int16) ([]byte, bool) { return binary.BigEndian.AppendUint16(b, uint16(n)), true })
}

func (p *params) bools(list []bool) {
	array(p, oidBool, 1*len(list), list, func(b []byte, v bool) ([]byte, bool) {
		if v {
			return append(b, 1), true
		}
		return append(b, 0), true
	})
}
