package postgres

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// splitData returns data as a JSON object for the column data, and another, or
// nil, for the column opaque with those values that jsonb cannot hold.
func splitData(data map[string]json.RawMessage) (fits, opaque object) {
	fits = make(object, 0, len(data))
	for k, v := range data {
		if fitsJSONB(v) {
			fits = append(fits, member{k, v})
		} else {
			opaque = append(opaque, member{k, v})
		}
	}
	return fits, opaque
}

// dataSize is what the values count for in [state.Size].
func dataSize(data map[string]json.RawMessage) int { return state.Size(&state.Record{Data: data}) }

func metaSize(m *state.Metadata) int { return state.Size(&state.Record{Meta: *m}) }

// decodeData is the reverse of splitData. The text of object is as jsonb
// writes it, with spaces that nobody gave: they are left out, so that a record
// does not grow by being read and written back.
func decodeData(object, opaque []byte) (map[string]json.RawMessage, error) {
	data := make(map[string]json.RawMessage, 4)
	if err := splitObject(object, data); err != nil {
		return nil, corrupt("data", err)
	}
	if opaque == nil {
		return data, nil
	}
	if err := json.Unmarshal(opaque, &data); err != nil {
		return nil, corrupt("opaque", err)
	}
	return data, nil
}

var errNoObject = errors.New("not a JSON object")

// splitObject puts the members of an object, which is valid JSON, into data.
// It is on the path of every read: encoding/json takes many times as long.
func splitObject(object []byte, data map[string]json.RawMessage) error {
	text := compact(object)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return errNoObject
	}
	for i := 1; i < len(text)-1; {
		if text[i] == ',' {
			i++
		}
		end := skipString(text, i)
		if end < 0 || end+1 >= len(text) || text[end] != ':' {
			return errNoObject
		}
		key, err := unquote(text[i:end])
		if err != nil {
			return err
		}
		i = end + 1
		end = skipValue(text, i)
		if end <= i {
			return errNoObject
		}
		data[key] = json.RawMessage(text[i:end:end])
		i = end
	}
	return nil
}

// compact returns a copy without the spaces between tokens.
func compact(text []byte) []byte {
	out := make([]byte, 0, len(text))
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := skipString(text, i)
			if end < 0 {
				return append(out, text[from:]...)
			}
			i = end - 1
		case ' ', '\n', '\t', '\r':
			out = append(out, text[from:i]...)
			from = i + 1
		}
	}
	return append(out, text[from:]...)
}

// skipString returns where the string that starts at i ends, or -1. Most of a
// record is in strings, so it looks at quotation marks and not at every byte.
func skipString(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return -1
	}
	for end := i + 1; ; end++ {
		n := bytes.IndexByte(text[end:], '"')
		if n < 0 {
			return -1
		}
		end += n
		if !escaped(text[i+1 : end]) {
			return end + 1
		}
	}
}

// escaped reports whether what follows the part of a string is escaped: it ends
// with an odd number of backslashes.
func escaped(part []byte) bool {
	n := len(part)
	for n > 0 && part[n-1] == '\\' {
		n--
	}
	return (len(part)-n)%2 == 1
}

// skipValue returns where the value that starts at i ends, or -1: at the next
// comma or bracket that is not its own.
func skipValue(text []byte, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if i = skipString(text, i) - 1; i < 0 {
				return -1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func unquote(text []byte) (string, error) {
	if bytes.IndexByte(text, '\\') >= 0 {
		var s string
		err := json.Unmarshal(text, &s)
		return s, err
	}
	return string(text[1 : len(text)-1]), nil
}
