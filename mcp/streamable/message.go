package streamable

import "bytes"

// A Message is the outline of a JSON-RPC message, as [Scan] finds it without
// parsing. Its slices are parts of the body.
type Message struct {
	// Batch: the body is an array. Nothing else is set then.
	Batch bool
	// Method is the raw string between the quotes, or nil: of a response, or
	// of a method name with escapes, which no method has.
	Method []byte
	// MethodAt is where Method begins in the body.
	MethodAt int
	// ID is the raw JSON of the id, or nil: of a notification.
	ID []byte
}

// Call reports whether the message is a request that wants an answer.
func (m *Message) Call() bool { return m.Method != nil && m.ID != nil }

// Is reports whether the message has the given method.
func (m *Message) Is(method string) bool { return string(m.Method) == method }

// Scan finds the outline of the message in body in one pass that allocates
// nothing. It looks at the top level only, and where a key is repeated at the
// last one, as the SDKs do. It does not validate: for text that is no JSON
// object or array it returns false, and for text that is broken further inside
// whatever it found; whoever parses the body says what is wrong with it.
func Scan(body []byte) (Message, bool) {
	var m Message
	i := skipSpace(body, 0)
	if i == len(body) {
		return m, false
	}
	if body[i] == '[' {
		return Message{Batch: true}, true
	}
	if body[i] != '{' {
		return m, false
	}
	for i++; ; {
		i = skipSpace(body, i)
		if i == len(body) || body[i] != '"' {
			return m, i < len(body) && body[i] == '}'
		}
		key := i
		i = skipString(body, i)
		name := body[key:i]
		i = skipSpace(body, i)
		if i == len(body) || body[i] != ':' {
			return m, false
		}
		i = skipSpace(body, i+1)
		start := i
		i = skipValue(body, i)
		if i == start {
			return m, false
		}
		m.take(name, body[start:i], start)
		i = skipSpace(body, i)
		if i < len(body) && body[i] == ',' {
			i++
		}
	}
}

func (m *Message) take(name, value []byte, at int) {
	switch string(name) {
	case `"method"`:
		m.Method = nil
		if len(value) >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
			m.Method, m.MethodAt = value[1:len(value)-1], at+1
		}
	case `"id"`:
		m.ID = nil
		if string(value) != "null" {
			m.ID = value
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the index behind the value that begins at i, or i if none
// does. Brackets are counted, not matched.
func skipValue(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i = skipPlain(b, i)
		}
		if depth == 0 {
			return min(i, len(b))
		}
	}
	return len(b)
}

// skipPlain returns the index behind a number or literal.
func skipPlain(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}
