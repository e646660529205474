package postgres

import (
	"encoding/json"
	"strings"
)

// An object is a JSON object that is written out when it is sent. The bytes of
// its values belong to the caller; nobody may change them. Nil is none.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

// size is about what append adds.
func (o object) size() int {
	n := 2
	for _, m := range o {
		n += len(m.key) + len(m.value) + len(`"":,`)
	}
	return n
}

// append appends the text of the object.
func (o object) append(b []byte) []byte {
	b = append(b, '{')
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, m.key), ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

// appendText appends a string as JSON writes it.
func appendText(b []byte, s string) []byte {
	if strings.ContainsFunc(s, unusual) {
		text, _ := json.Marshal(s) // never fails for a string
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// unusual reports whether a character may have to be escaped.
func unusual(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
