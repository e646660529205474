package auth

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Bounds of a tokens file.
const (
	// MaxTokenBytes bounds one token. Longer ones are refused, in the file and
	// in a request.
	MaxTokenBytes = 4096
	// MaxTokens bounds the tokens of a file.
	MaxTokens = 100_000
	// WeakTokenBytes is the length under which a token can be guessed: 22
	// characters of base64 carry 128 bits.
	WeakTokenBytes = 22
)

// grace is how long a verification is good for. A token of a file is valid
// until the file says otherwise, but consumers of a TokenInfo demand an end;
// every request is verified anew, so the end only has to outlast a request.
const grace = time.Hour

// Tokens verifies bearer tokens (RFC 6750) against a fixed list. It is
// immutable and safe for concurrent use; create it with [LoadTokens] or
// [ParseTokens]. The zero value knows no token and refuses all.
//
// It keeps no token, only a keyed hash of each with a key of its own, so
// that neither a dump of its memory nor the time a comparison takes tells
// anything of a token.
type Tokens struct {
	key   []byte
	users map[[sha256.Size]byte]string
	weak  int
}

// LoadTokens reads a tokens file; see [ParseTokens] for its form. The second
// result reports that users other than the file's owner can read it, which is
// for the caller to warn of: many deployments mount secrets that way.
func LoadTokens(path string) (tokens *Tokens, exposed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open tokens file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("open tokens file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("open tokens file: %s is not a regular file", path)
	}
	tokens, err = ParseTokens(f)
	if err != nil {
		return nil, false, fmt.Errorf("read tokens file %s: %w", path, err)
	}
	return tokens, info.Mode().Perm()&0o044 != 0, nil
}

// ParseTokens reads lines "TOKEN USER", separated by blanks. Empty lines and
// lines that start with # are skipped. A token has the characters of RFC 6750
// and may occur once; a user may have several, so that tokens can be rotated.
// A list without a token is refused, since it would lock everybody out. Errors
// name the line and never repeat a token.
func ParseTokens(r io.Reader) (*Tokens, error) {
	t := &Tokens{key: make([]byte, sha256.Size), users: map[[sha256.Size]byte]string{}}
	if _, err := rand.Read(t.key); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxTokenBytes+state.MaxUserBytes+64)
	for n := 1; lines.Scan(); n++ {
		if err := t.add(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t.users) == 0 {
		return nil, errors.New("no token in it; write lines TOKEN USER")
	}
	return t, nil
}

func (t *Tokens) add(line string) error {
	fields := strings.Fields(line)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return nil
	}
	if len(fields) != 2 {
		return fmt.Errorf("has %d words; write TOKEN USER", len(fields))
	}
	token, user := fields[0], fields[1]
	switch {
	case !validToken(token):
		return errors.New("the token has characters that a bearer token cannot have, or is too long; use letters, digits and -._~+/=")
	case len(user) > state.MaxUserBytes || !utf8.ValidString(user):
		return fmt.Errorf("the user is not UTF-8 of at most %d bytes", state.MaxUserBytes)
	case len(t.users) == MaxTokens:
		return fmt.Errorf("more than %d tokens", MaxTokens)
	}
	sum := t.sum(token)
	if _, taken := t.users[sum]; taken {
		return errors.New("the token was given before; each may occur once")
	}
	t.users[sum] = user
	if len(token) < WeakTokenBytes {
		t.weak++
	}
	return nil
}

// Len is the number of tokens.
func (t *Tokens) Len() int { return len(t.users) }

// Weak is the number of tokens shorter than [WeakTokenBytes].
func (t *Tokens) Weak() int { return t.weak }

// Verify implements the SDK's TokenVerifier: it returns the user of the token,
// with an Expiration an hour from now, or an error that wraps the SDK's
// ErrInvalidToken.
func (t *Tokens) Verify(_ context.Context, token string, _ *http.Request) (*sdkauth.TokenInfo, error) {
	if len(token) > MaxTokenBytes {
		return nil, refused(ReasonTooLarge)
	}
	user, ok := t.users[t.sum(token)]
	if !ok {
		return nil, refused(ReasonUnknown)
	}
	return &sdkauth.TokenInfo{UserID: user, Expiration: time.Now().Add(grace)}, nil
}

func (t *Tokens) sum(token string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, t.key)
	io.WriteString(mac, token)
	return [sha256.Size]byte(mac.Sum(nil))
}

// validToken reports whether s is a b64token (RFC 6750, section 2.1), within
// bounds.
func validToken(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" || len(s) > MaxTokenBytes {
		return false
	}
	for i := range len(body) {
		c := body[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/", c) >= 0
		if !ok {
			return false
		}
	}
	return true
}
