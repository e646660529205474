package state

import (
	"encoding/json"
	"unicode/utf8"
)

// MaxJSONDepth bounds how deep a value may nest: backends that parse JSON
// themselves stop at some depth, and every store is to take the same values.
const MaxJSONDepth = 500

// checkJSON refuses a value that not every backend can store.
func checkJSON(what string, v json.RawMessage) error {
	switch {
	case len(v) > MaxRecordBytes:
		return &BoundError{What: what, Size: len(v), Max: MaxRecordBytes}
	case quickJSON(v):
		return nil
	case !json.Valid(v):
		return &InvalidError{What: what, Why: "is not JSON"}
	case !utf8.Valid(v):
		return &InvalidError{What: what, Why: "is not valid UTF-8"}
	}
	if why := scanJSON(v); why != "" {
		return &InvalidError{What: what, Why: why}
	}
	return nil
}

// scanJSON says what about a valid JSON text some backend would refuse: the
// escape of U+0000, half a surrogate pair, or deep nesting. It says "" for
// nothing.
func scanJSON(v []byte) string {
	depth, quoted, high := 0, false, false
	for i := 0; i < len(v); i++ {
		c := v[i]
		if high && c != '\\' {
			return loneSurrogate
		}
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '['):
			if depth++; depth > MaxJSONDepth {
				return "is nested too deep"
			}
		case !quoted && (c == '}' || c == ']'):
			depth--
		case c == '\\':
			why, isHigh := escape(v[i+1:], high)
			if why != "" {
				return why
			}
			high = isHigh
			i += escapeLen(v[i+1:])
		}
	}
	return ""
}

const loneSurrogate = "contains half a surrogate pair"

// escape looks at what follows a backslash, after the high half of a surrogate
// pair or not, and reports whether it is such a half itself.
func escape(rest []byte, afterHigh bool) (why string, high bool) {
	r := rune(-1)
	if rest[0] == 'u' {
		r = hex4(rest[1:5])
	}
	low := r >= 0xdc00 && r <= 0xdfff
	switch {
	case r == 0:
		return "contains U+0000", false
	case low != afterHigh:
		return loneSurrogate, false
	}
	return "", r >= 0xd800 && r <= 0xdbff
}

// escapeLen is how many bytes after the backslash belong to the escape.
func escapeLen(rest []byte) int {
	if rest[0] == 'u' {
		return 5
	}
	return 1
}

// hex4 reads four hexadecimal digits of valid JSON.
func hex4(digits []byte) rune {
	var r rune
	for _, d := range digits {
		switch {
		case d <= '9':
			r = r<<4 | rune(d-'0')
		default:
			r = r<<4 | rune(d|0x20-'a'+10)
		}
	}
	return r
}
