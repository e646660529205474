package postgres

import "strconv"

// Bounds of what goes into a jsonb column; what is beyond them is kept as text.
const (
	maxNumber     = 8192 // characters; jsonb takes 16383 digits after the point
	maxJSONGrowth = 1024 // bytes; jsonb writes 1e100000 out in full
)

// fitsJSONB reports whether jsonb can hold a valid JSON value and give it back
// in about its size: not numbers that it would round, refuse, or blow up.
func fitsJSONB(v []byte) bool {
	growth := 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			i = skipString(v, i) - 1
		case c == '-' || c >= '0' && c <= '9':
			end, more, ok := numberFits(v, i)
			growth += more
			if !ok || growth > maxJSONGrowth {
				return false
			}
			i = end - 1
		}
	}
	return true
}

// numberFits looks at a number and returns where it ends, and how many
// characters it grows by when it is written without an exponent.
func numberFits(v []byte, i int) (end, growth int, ok bool) {
	start, exponent := i, -1
	for ; i < len(v) && inNumber(v[i]); i++ {
		if v[i] == 'e' || v[i] == 'E' {
			exponent = i + 1
		}
	}
	if i-start > maxNumber {
		return i, 0, false
	}
	if exponent < 0 {
		return i, 0, true
	}
	n, err := strconv.Atoi(string(v[exponent:i]))
	if err != nil || n > maxJSONGrowth || n < -maxJSONGrowth {
		return i, 0, false
	}
	return i, max(n, -n), true
}

func inNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}
