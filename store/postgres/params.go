package postgres

import (
	"encoding/binary"
	"slices"
	"sync"

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
type params struct {
	values [][]byte
	room   []byte // where new ones are written
}

// largest is the most room that is kept for the next statement.
const largest = 1 << 20

// A paramsPool keeps the room that parameters of groups take: half of what a
// writer would leave to the garbage collector.
type paramsPool struct{ pool sync.Pool }

// get returns parameters without values, to be put back when nobody sends them
// any more.
func (p *paramsPool) get() *params {
	if kept, ok := p.pool.Get().(*params); ok {
		return kept
	}
	return &params{}
}

func (p *paramsPool) put(used *params) {
	if cap(used.room) > largest {
		return
	}
	clear(used.values)
	used.values, used.room = used.values[:0], used.room[:0]
	p.pool.Put(used)
}

// add makes a value of what was written from there on.
func (p *params) add(from int) {
	v := p.room[from:len(p.room):len(p.room)]
	if v == nil {
		v = []byte{} // nothing was written yet, and nil would be NULL
	}
	p.values = append(p.values, v)
}

func (p *params) null() { p.values = append(p.values, nil) }

func (p *params) key(k state.Key) {
	p.text(k.Namespace)
	p.text(k.Ref.String())
}

func (p *params) text(s string) {
	at := len(p.room)
	p.room = append(p.room, s...)
	p.add(at)
}

func (p *params) bytes(b []byte) {
	at := len(p.room)
	p.room = append(p.room, b...)
	p.add(at)
}

// optBytes adds bytes that are not copied; nil is NULL.
func (p *params) optBytes(b []byte) { p.values = append(p.values, b) }

// object adds the text of a JSON object; nil is NULL.
func (p *params) object(o object) {
	if o == nil {
		p.null()
		return
	}
	at := len(p.room)
	p.room = o.append(slices.Grow(p.room, o.size()))
	p.add(at)
}

func (p *params) int8(n int64) {
	at := len(p.room)
	p.room = binary.BigEndian.AppendUint64(p.room, uint64(n))
	p.add(at)
}

func (p *params) int4(n int) {
	at := len(p.room)
	p.room = binary.BigEndian.AppendUint32(p.room, uint32(n))
	p.add(at)
}

// array adds an array whose elements take about room bytes; put appends an element, or reports that it is NULL.
func array[T any](p *params, oid uint32, room int, list []T, put func([]byte, T) ([]byte, bool)) {
	if list == nil {
		p.null()
		return
	}
	from := len(p.room)
	b := arrayHead(slices.Grow(p.room, arrayHeadSize+4*len(list)+room), oid, len(list))
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
	p.room = b
	p.add(from)
}

const arrayHeadSize = 20

// arrayHead appends what comes before the elements: that there may be NULLs, and
// how many there are from index 1 on.
func arrayHead(b []byte, oid uint32, n int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(min(n, 1))) // dimensions
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, oid)
	if n == 0 {
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

// byteses adds bytea; nil is NULL.
func (p *params) byteses(list [][]byte) {
	room := 0
	for _, v := range list {
		room += len(v)
	}
	array(p, oidBytea, room, list, func(b []byte, v []byte) ([]byte, bool) { return append(b, v...), v != nil })
}

// objects adds the texts of JSON objects; nil is NULL.
func (p *params) objects(list []object) {
	room := 0
	for _, o := range list {
		room += o.size()
	}
	array(p, oidText, room, list, func(b []byte, o object) ([]byte, bool) { return o.append(b), o != nil })
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
