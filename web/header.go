package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// NewSession is what a client without a session writes into the session header
// to say that it wants the id of a new one there, not in a cookie. No page of
// another site can write it without asking leave (CORS).
const NewSession = "new"

// checkHeader says why a header cannot carry the id. A header that browsers
// send by themselves, or let any page set, would make a request of another site
// look like a client's own.
func checkHeader(name string) error {
	if !validToken(name) {
		return fmt.Errorf("the header %q is no name of a header", name)
	}
	name = http.CanonicalHeaderKey(name)
	if slices.Contains(strings.Fields(`
		Accept Accept-Language Accept-Encoding Accept-Charset Authorization Cache-Control Connection Content-Language
		Content-Length Content-Type Cookie Cookie2 Date Dnt Expect Forwarded From Host If-Match If-Modified-Since
		If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Event-Id Mcp-Session-Id Origin Pragma Range Referer
		Save-Data Set-Cookie Te Trailer Transfer-Encoding Upgrade User-Agent Via Viewport-Width Width`), name) {
		return fmt.Errorf("the header %s is not for session ids: others write it", name)
	}
	for _, prefix := range []string{"Sec-", "Proxy-", "X-Forwarded-", "Access-Control-"} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("the header %s is not for session ids: others write what begins with %s", name, prefix)
		}
	}
	return nil
}

// takeHeader returns the one value of the header. Several, or one with a comma,
// which is how several arrive through a proxy, are ErrAmbiguous. net/http has
// made one of names that differ in case.
func takeHeader(h http.Header, name string) (value string, found bool, err error) {
	values := h[name]
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1 || strings.Contains(values[0], ","):
		return "", false, ErrAmbiguous
	}
	return values[0], true, nil
}

// validToken reports whether s is a token of RFC 9110.
func validToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return true
}

var errNoTransport = errors.New("HeaderOnly needs a Header: there is no way to carry ids otherwise")
