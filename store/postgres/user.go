package postgres

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EscapeUser returns how the column user_id holds a user: plain text as it is,
// so that people can compare it in SQL. A user may be any bytes, which a text
// column cannot hold, so a backslash is doubled, and U+0000 and each byte that
// is no UTF-8 become \x and two hexadecimal digits. Different users are never
// escaped alike.
func EscapeUser(user string) string {
	if utf8.ValidString(user) && !strings.ContainsAny(user, "\\\x00") {
		return user
	}
	var b strings.Builder
	for i := 0; i < len(user); {
		r, n := utf8.DecodeRuneInString(user[i:])
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == 0, r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, user[i])
		default:
			b.WriteString(user[i : i+n])
		}
		i += n
	}
	return b.String()
}

// unescapeUser is the reverse of [EscapeUser].
func unescapeUser(text string) (string, error) {
	if strings.IndexByte(text, '\\') < 0 {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i:], `\\`):
			b.WriteByte('\\')
			i++
		case strings.HasPrefix(text[i:], `\x`) && len(text) >= i+4:
			c, err := strconv.ParseUint(text[i+2:i+4], 16, 8)
			if err != nil {
				return "", corrupt("user_id", err)
			}
			b.WriteByte(byte(c))
			i += 3
		default:
			return "", corrupt("user_id", fmt.Errorf("a backslash that escapes nothing"))
		}
	}
	return b.String(), nil
}
