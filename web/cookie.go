package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// DefaultCookie and InsecureCookie are what the cookie is called where nothing
// else is said. Browsers keep a cookie with the prefix __Host- only if it is
// Secure, has the path / and no domain; so no neighbour under the same domain,
// and nobody on an unencrypted connection, can plant one (RFC 6265bis).
const (
	DefaultCookie  = "__Host-session"
	InsecureCookie = "session"
)

// maxCookieBytes bounds name and value together (OWASP ASVS 5.0, 3.3.5):
// browsers drop what is longer.
const maxCookieBytes = 4096

// A Cookie says how the session cookie is made. It is always HttpOnly. The zero
// value is the strictest: __Host-session, Secure, SameSite=Strict, gone when
// the browser is closed.
type Cookie struct {
	// Name includes the prefix. Empty: DefaultCookie.
	Name string
	// SameSite: zero is Strict. With Strict a link from another site arrives
	// without the session, with Lax it arrives with it. None sends it with
	// everything, and is for pages that others embed.
	SameSite http.SameSite
	// Partitioned keeps apart the cookies of a page that others embed, by who
	// embeds it.
	Partitioned bool
	// Persistent keeps the cookie when the browser is closed, for as long as
	// the session may live.
	Persistent bool
	// Domain shares the cookie with all hosts of a domain, and Path restricts
	// it; neither goes with __Host-. Empty: the host that set it alone, and /.
	Domain, Path string
	// Insecure leaves out Secure, and the prefix from the default name: for
	// developing without TLS. Requests that are not of this machine are then
	// refused.
	Insecure bool
}

func (c Cookie) defaults() Cookie {
	if c.Name == "" {
		c.Name = DefaultCookie
		if c.Insecure {
			c.Name = InsecureCookie
		}
	}
	if c.SameSite == 0 {
		c.SameSite = http.SameSiteStrictMode
	}
	if c.Path == "" {
		c.Path = "/"
	}
	return c
}

// check says what a browser would hold against the cookie. net/http does not.
func (c Cookie) check() error {
	switch c.SameSite {
	case http.SameSiteStrictMode, http.SameSiteLaxMode:
	case http.SameSiteNoneMode:
		if c.Insecure {
			return errors.New("a SameSite=None cookie needs Secure: browsers refuse it otherwise")
		}
	default:
		return errors.New("SameSite must be Strict, Lax or None: what browsers do without differs")
	}
	if c.Partitioned && c.Insecure {
		return errors.New("a Partitioned cookie needs Secure: browsers refuse it otherwise")
	}
	if !strings.HasPrefix(c.Path, "/") {
		return fmt.Errorf("path %q does not begin with /", c.Path)
	}
	if err := c.checkPrefix(); err != nil {
		return err
	}
	if len(c.Name)+session.MaxIDLength > maxCookieBytes {
		return fmt.Errorf("the name has %d bytes: with an id that is more than %d", len(c.Name), maxCookieBytes)
	}
	return c.with("value", 0).Valid()
}

// checkPrefix holds the name to what its prefix promises. Browsers compare
// prefixes without regard to case.
func (c Cookie) checkPrefix() error {
	for _, prefix := range []string{"__Host-", "__Secure-", "__Http-"} {
		if len(c.Name) < len(prefix) || !strings.EqualFold(c.Name[:len(prefix)], prefix) {
			continue
		}
		switch {
		case !strings.HasPrefix(c.Name, prefix):
			return fmt.Errorf("name %q: write the prefix %s, some browsers know no other case", c.Name, prefix)
		case c.Insecure:
			return fmt.Errorf("name %q: the prefix %s needs Secure", c.Name, prefix)
		case prefix == "__Host-" && c.Domain != "":
			return fmt.Errorf("name %q: the prefix %s allows no domain", c.Name, prefix)
		case prefix == "__Host-" && c.Path != "/":
			return fmt.Errorf("name %q: the prefix %s needs the path /", c.Name, prefix)
		}
	}
	return nil
}

// with returns the cookie with a value, or with a negative age its removal.
func (c Cookie) with(value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: c.Name, Value: value, Domain: c.Domain, Path: c.Path, MaxAge: age,
		Secure: !c.Insecure, HttpOnly: true, SameSite: c.SameSite, Partitioned: c.Partitioned,
	}
}

// holding returns the cookie with the id, for a session that lives at most so
// long.
func (c Cookie) holding(id session.ID, life time.Duration) *http.Cookie {
	age := 0
	if c.Persistent {
		age = max(1, int(life/time.Second))
	}
	return c.with(id.Reveal(), age)
}

func (c Cookie) removal() *http.Cookie { return c.with("", -1) }

// take finds the cookie in the Cookie headers, of which HTTP/2 may send
// several. It returns its value, and the headers without it. found is false if
// it is not there, and the error is ErrAmbiguous if it is there twice: the
// second has been planted, by a neighbour under the same domain for instance,
// and nothing tells which one that is.
//
// This is stricter than net/http, which drops what it does not like: a value in
// quotes is another value, and never hides what follows.
func (c Cookie) take(headers []string) (value string, rest []string, found bool, err error) {
	rest = make([]string, 0, len(headers))
	for _, header := range headers {
		left := make([]string, 0, 4)
		for pair := range strings.SplitSeq(header, ";") {
			name, v, _ := strings.Cut(pair, "=")
			if trimBlanks(name) != c.Name {
				left = append(left, pair)
				continue
			}
			if found {
				return "", nil, false, ErrAmbiguous
			}
			value, found = trimBlanks(v), true
		}
		if text := trimBlanks(strings.Join(left, ";")); text != "" {
			rest = append(rest, text)
		}
	}
	return value, rest, found, nil
}

func trimBlanks(s string) string { return strings.Trim(s, " \t\r\n") } // as net/http does
