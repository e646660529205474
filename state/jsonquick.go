package state

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// quickJSON reports whether a value is plainly one that checkJSON accepts:
// every write is checked, and this takes a fraction of the time. Of what it
// does not accept, escapes by number, say, it knows nothing.
func quickJSON(v []byte) bool {
	q := quick{v: v}
	if !q.value(0) {
		return false
	}
	q.space()
	return q.at == len(v) && utf8.Valid(v)
}

// quick reads a JSON text.
type quick struct {
	v  []byte
	at int
}

// next returns the byte to be read, or 0 at the end, which begins nothing.
func (q *quick) next() byte {
	if q.at < len(q.v) {
		return q.v[q.at]
	}
	return 0
}

// take reads a byte if it is the next.
func (q *quick) take(c byte) bool {
	if q.next() != c {
		return false
	}
	q.at++
	return true
}

func (q *quick) space() {
	for c := q.next(); c == ' ' || c == '\n' || c == '\t' || c == '\r'; c = q.next() {
		q.at++
	}
}

// value reads a value within depth others.
func (q *quick) value(depth int) bool {
	q.space()
	switch q.next() {
	case '"':
		return q.text()
	case '{':
		return depth < MaxJSONDepth && q.members('}', depth+1, true)
	case '[':
		return depth < MaxJSONDepth && q.members(']', depth+1, false)
	case 't':
		return q.word("true")
	case 'f':
		return q.word("false")
	case 'n':
		return q.word("null")
	}
	return q.number()
}

// members reads what is in an object or an array, and what closes it.
func (q *quick) members(end byte, depth int, named bool) bool {
	q.at++
	q.space()
	if q.take(end) {
		return true
	}
	for {
		if named && !q.name() || !q.value(depth) {
			return false
		}
		q.space()
		if !q.take(',') {
			return q.take(end)
		}
	}
}

func (q *quick) name() bool {
	q.space()
	if q.next() != '"' || !q.text() {
		return false
	}
	q.space()
	return q.take(':')
}

func (q *quick) word(w string) bool {
	if len(q.v)-q.at < len(w) || string(q.v[q.at:q.at+len(w)]) != w {
		return false
	}
	q.at += len(w)
	return true
}

func (q *quick) number() bool {
	q.take('-')
	if !q.take('0') && !q.digits() {
		return false
	}
	if q.take('.') && !q.digits() {
		return false
	}
	if c := q.next(); c != 'e' && c != 'E' {
		return true
	}
	q.at++
	if !q.take('+') {
		q.take('-')
	}
	return q.digits()
}

// digits reads one or more.
func (q *quick) digits() bool {
	from := q.at
	for c := q.next(); c >= '0' && c <= '9'; c = q.next() {
		q.at++
	}
	return q.at > from
}

// text reads a string.
func (q *quick) text() bool {
	q.at++
	for {
		q.ordinary()
		if q.take('"') {
			return true
		}
		if !q.take('\\') {
			return false // a control character, or the end
		}
		switch q.next() {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			q.at++
		default:
			return false
		}
	}
}

// ordinary goes on to the next quote, backslash or control character, eight
// bytes at a time.
func (q *quick) ordinary() {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(q.v)-q.at >= 8 {
		w := binary.LittleEndian.Uint64(q.v[q.at:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		// The lowest bit set is that of such a byte; those above it may be
		// set by what is borrowed.
		found := ((w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if found != 0 {
			q.at += bits.TrailingZeros64(found) / 8
			return
		}
		q.at += 8
	}
	for c := q.next(); c >= ' ' && c != '"' && c != '\\'; c = q.next() {
		q.at++
	}
}
