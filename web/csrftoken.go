package web

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// tokenBytes is the length of the secret in a session that its tokens stand
// for.
const tokenBytes = 32

// tokenEncoding has only characters that need no escape in HTML, a header or a
// form.
var tokenEncoding = base64.RawURLEncoding

// mask makes a token: a random pad, and the secret under it.
func (c *CSRF) mask(s *session.Session) (string, error) {
	secret, ok := secretOf(s)
	if !ok {
		return "", fmt.Errorf("the session has no CSRF secret: %w", session.ErrCorrupt)
	}
	var raw [2 * tokenBytes]byte
	pad, masked := raw[:tokenBytes], raw[tokenBytes:]
	if _, err := io.ReadFull(c.opts.Rand, pad); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	subtle.XORBytes(masked, pad, secret)
	return tokenEncoding.EncodeToString(raw[:]), nil
}

// unmask returns the secret in a token. It accepts exactly what mask writes,
// and its cost is bounded.
func unmask(token string) ([]byte, bool) {
	var raw [2 * tokenBytes]byte
	if len(token) != tokenEncoding.EncodedLen(len(raw)) {
		return nil, false
	}
	n, err := tokenEncoding.Strict().Decode(raw[:], []byte(token))
	if err != nil || n != len(raw) {
		return nil, false // line breaks, for instance, are passed over
	}
	secret := make([]byte, tokenBytes)
	subtle.XORBytes(secret, raw[:tokenBytes], raw[tokenBytes:])
	return secret, true
}

func verifyToken(s *session.Session, token string) bool {
	want, ok := secretOf(s)
	got, good := unmask(token)
	return ok && good && subtle.ConstantTimeCompare(want, got) == 1
}
