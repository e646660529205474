package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// Defaults of [CSRFOptions].
const (
	DefaultCSRFHeader   = "X-Csrf-Token"
	DefaultCSRFField    = "csrf_token"
	DefaultMaxFormBytes = 1 << 20
	DefaultFormTimeout  = 10 * time.Second
)

// CSRFOptions of a [CSRF]. The zero value protects.
type CSRFOptions struct {
	// TrustedOrigins are other origins, "scheme://host[:port]", whose pages may
	// send requests.
	TrustedOrigins []string
	// RequireToken demands the token of browsers too whose request says, in
	// Sec-Fetch-Site or Origin, that it comes from this site. It then also
	// notices a form that was opened before somebody else signed in.
	RequireToken bool
	// Header and Field are where the token is looked for, in this order. Empty:
	// X-Csrf-Token and csrf_token.
	Header, Field string
	// MaxFormBytes bounds the body of a form that is searched for the token;
	// uploads that are larger send it in the header. Zero: 1 MiB.
	MaxFormBytes int64
	// FormTimeout is how long such a form may take to arrive. Zero: 10 s.
	FormTimeout time.Duration
	// Deny answers what is refused. Nil: [Error].
	Deny func(http.ResponseWriter, *http.Request, error)
	// Rand is where tokens come from; nil: crypto/rand.Reader. Anything else is
	// for tests.
	Rand io.Reader
}

// CSRF protects requests that change something against being made by a page of
// another site, in the name of whoever visits it.
//
// Two things speak for a request. Browsers say where it comes from
// (Sec-Fetch-Site, Origin): what comes from elsewhere is refused, by
// [http.CrossOriginProtection]. A request that says neither must have the token
// of its session, which only a page of this site can know.
//
// A token is kept in the session and never ends before it, so that forms in
// several tabs all work. What goes into a page is masked, differently each time:
// otherwise its text could be found out from the length of compressed pages
// (BREACH).
//
// A CSRF is safe for concurrent use.
type CSRF struct {
	manager *session.Manager
	opts    CSRFOptions
	origins *http.CrossOriginProtection
}

// NewCSRF returns a CSRF for the sessions of m.
func NewCSRF(m *session.Manager, opts CSRFOptions) (*CSRF, error) {
	orDefault(&opts.Header, DefaultCSRFHeader)
	orDefault(&opts.Field, DefaultCSRFField)
	orDefault(&opts.MaxFormBytes, DefaultMaxFormBytes)
	orDefault(&opts.FormTimeout, DefaultFormTimeout)
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Deny == nil {
		opts.Deny = func(w http.ResponseWriter, _ *http.Request, err error) { Error(w, err) }
	}
	if err := checkHeader(opts.Header); err != nil {
		return nil, fmt.Errorf("csrf: %w", err)
	}
	opts.Header = http.CanonicalHeaderKey(opts.Header)
	if opts.MaxFormBytes < 0 || opts.FormTimeout < 0 {
		return nil, errors.New("csrf: MaxFormBytes and FormTimeout must not be negative")
	}
	c := &CSRF{manager: m, opts: opts, origins: http.NewCrossOriginProtection()}
	for _, origin := range opts.TrustedOrigins {
		if err := c.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("csrf: %w", err)
		}
	}
	return c, nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// csrfKey holds the token of a session.
const csrfKey = session.ReservedPrefix + "csrf"

// GenerateToken returns a token for the session, masked. The session is given
// one if it has none; the ones from before stay good.
func (c *CSRF) GenerateToken(ctx context.Context, id session.ID) (string, error) {
	s, err := c.manager.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if s, err = c.withSecret(ctx, s); err != nil {
		return "", err
	}
	return c.mask(s)
}

// VerifyToken reports, in constant time, whether the token is one of the
// session's. No session is session.ErrNotFound.
func (c *CSRF) VerifyToken(ctx context.Context, id session.ID, token string) (bool, error) {
	s, err := c.manager.Get(ctx, id)
	if err != nil {
		return false, err
	}
	return verifyToken(s, token), nil
}

// Token returns a token for the session of the request. It starts a session if
// there is none, so it must be called before the first byte of the answer.
func (c *CSRF) Token(ctx context.Context) (string, error) {
	s := FromContext(ctx)
	now, err := s.current(ctx)
	for errors.Is(err, session.ErrNotFound) {
		if err = c.start(ctx, s); err != nil {
			return "", err
		}
		now, err = s.current(ctx)
	}
	if err != nil {
		return "", err
	}
	next, err := c.withSecret(ctx, now)
	if err := s.adopt(now, next, err); err != nil {
		return "", err
	}
	return c.mask(next)
}

// start starts a session for its token.
func (c *CSRF) start(ctx context.Context, s *Session) error {
	user, err := s.principal()
	if err != nil {
		return err
	}
	raw, err := c.secret()
	if err != nil {
		return err
	}
	_, err = s.create(ctx, session.CreateRequest{
		User: user, Metadata: s.sessions.opts.Collector.Collect(s.request),
		Data: map[string]json.RawMessage{csrfKey: raw},
	})
	return err
}

// withSecret returns the session with a secret for tokens.
func (c *CSRF) withSecret(ctx context.Context, s *session.Session) (*session.Session, error) {
	if _, ok := secretOf(s); ok {
		return s, nil
	}
	raw, err := c.secret()
	if err != nil {
		return nil, err
	}
	next, err := c.manager.UpdateRef(ctx, s.Ref, func(s *session.Session) error {
		if _, ok := secretOf(s); !ok {
			s.Data[csrfKey] = raw
		}
		return nil
	})
	if errors.Is(err, session.ErrNotFound) {
		err = session.ErrNotFound // without how it ended
	}
	return next, err
}

// secret makes a secret as the session keeps it.
func (c *CSRF) secret() (json.RawMessage, error) {
	var secret [tokenBytes]byte
	if _, err := io.ReadFull(c.opts.Rand, secret[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return json.RawMessage(`"` + base64.StdEncoding.EncodeToString(secret[:]) + `"`), nil
}

func secretOf(s *session.Session) (secret []byte, ok bool) {
	ok, err := s.Get(csrfKey, &secret)
	return secret, ok && err == nil && len(secret) == tokenBytes
}

// Field returns a hidden field with a token, for the forms of a page:
//
//	<form method="post">{{.CSRF}} …
//
// See [CSRF.Token].
func (c *CSRF) Field(ctx context.Context) (template.HTML, error) {
	return c.html(ctx, `<input type="hidden" name="%s" value="%s">`, c.opts.Field)
}

// Meta returns a meta element with a token, for the scripts of a page, which
// send its content in the header.
func (c *CSRF) Meta(ctx context.Context) (template.HTML, error) {
	return c.html(ctx, `<meta name="%s" content="%s">`, "csrf-token")
}

func (c *CSRF) html(ctx context.Context, form, name string) (template.HTML, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return "", err
	}
	return template.HTML(fmt.Sprintf(form, template.HTMLEscapeString(name), token)), nil
}
