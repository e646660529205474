package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
)

const (
	// MaxJWTBytes bounds a JWT.
	MaxJWTBytes = 16 << 10
	// DefaultLeeway is what the clocks of issuer and server may differ by.
	DefaultLeeway = 30 * time.Second
	// MaxLeeway is the most that may be asked for.
	MaxLeeway = 5 * time.Minute
)

// An Issuer is somebody whose tokens are accepted: the iss of the tokens, to
// the letter, and the keys that verify them. A key of one issuer never
// verifies a token of another, whatever its id.
type Issuer struct {
	Name string
	Keys *Keys
}

// JWTOptions of [NewJWT].
type JWTOptions struct {
	Issuers []Issuer // required
	// Audiences name this server. A token must be for one of them: one that
	// was given for another service must be of no use here. Required.
	Audiences []string
	// Leeway is what the issuers' clocks may be off; zero: 30 s. Below zero:
	// nothing.
	Leeway time.Duration
	Clock  func() time.Time // nil: time.Now
}

// JWT verifies signed JSON Web Tokens (RFC 7519, RFC 9068) as RFC 8725 asks:
// only asymmetric algorithms, each with keys made for it; issuer, audience,
// subject and end are required. It is safe for concurrent use.
type JWT struct {
	issuers   map[string]*Keys
	audiences jwt.Audience
	leeway    time.Duration
	clock     func() time.Time
}

// NewJWT returns a verifier, or says what the options lack.
func NewJWT(opts JWTOptions) (*JWT, error) {
	j := &JWT{issuers: map[string]*Keys{}, audiences: opts.Audiences, leeway: opts.Leeway, clock: opts.Clock}
	fill(&j.leeway, DefaultLeeway)
	j.leeway = max(0, j.leeway)
	if j.clock == nil {
		j.clock = time.Now
	}
	switch {
	case len(opts.Issuers) == 0:
		return nil, errors.New("no issuer: name whose tokens are accepted")
	case len(opts.Audiences) == 0 || slices.Contains(opts.Audiences, ""):
		return nil, errors.New("no audience: name for whom tokens must be, such as https://mcp.example/mcp")
	case j.leeway > MaxLeeway:
		return nil, fmt.Errorf("a leeway of %v: use at most %v", j.leeway, MaxLeeway)
	}
	for _, issuer := range opts.Issuers {
		if err := checkIssuer(issuer.Name); err != nil {
			return nil, err
		}
		if _, twice := j.issuers[issuer.Name]; twice || issuer.Keys == nil {
			return nil, errors.New("each issuer needs its keys, and may be named once")
		}
		j.issuers[issuer.Name] = issuer.Keys
	}
	return j, nil
}

// algorithms are all that is accepted. With a symmetric one, whoever knows the
// public key could sign.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// claims are what is read of a token.
type claims struct {
	jwt.Claims
	Scope    string       `json:"scope"`
	Scp      jwt.Audience `json:"scp"` // the same by another name, also as a list
	ClientID string       `json:"client_id"`
}

// Verify implements the SDK's TokenVerifier. The UserID of what it returns is
// the [Principal] in text, Extra has "iss", "sub" and, if the token does,
// "client_id". What is wrong with a token is a [*RefusedError]; an error that
// is none says nothing about the token.
func (j *JWT) Verify(ctx context.Context, token string, _ *http.Request) (*sdkauth.TokenInfo, error) {
	if len(token) > MaxJWTBytes {
		return nil, refused(ReasonTooLarge)
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, refused(ReasonMalformed)
	}
	header := parsed.Headers[0]
	if !typed(header) {
		return nil, refused(ReasonMalformed)
	}
	// The issuer decides which keys count, so it is looked at first.
	var unverified jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		return nil, refused(ReasonMalformed)
	}
	keys, known := j.issuers[unverified.Issuer]
	if !known {
		return nil, refused(ReasonIssuer)
	}
	set, err := keys.find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	for _, key := range set.find(header.KeyID, header.Algorithm) {
		var c claims
		if parsed.Claims(key.Key, &c) == nil {
			return j.accept(&c)
		}
	}
	return nil, refused(ReasonSignature)
}

// typed reports whether the token says that it is an access token, or nothing:
// those of other kinds (RFC 8725, 3.11) are no credentials.
func typed(h jose.Header) bool {
	typ, given := h.ExtraHeaders[jose.HeaderType]
	text, _ := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	return !given || text == "jwt" || text == "at+jwt"
}

// accept judges what a verified token says.
func (j *JWT) accept(c *claims) (*sdkauth.TokenInfo, error) {
	if c.Expiry == nil {
		return nil, refused(ReasonExpired)
	}
	switch err := c.ValidateWithLeeway(jwt.Expected{AnyAudience: j.audiences, Time: j.clock()}, j.leeway); {
	case errors.Is(err, jwt.ErrInvalidAudience):
		return nil, refused(ReasonAudience)
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, refused(ReasonNotYet)
	case err != nil:
		return nil, refused(ReasonExpired)
	}
	p := Principal{Issuer: c.Issuer, Subject: c.Subject}
	if p.check() != nil {
		return nil, refused(ReasonSubject)
	}
	extra := map[string]any{"iss": c.Issuer, "sub": c.Subject}
	if c.ClientID != "" {
		extra["client_id"] = c.ClientID
	}
	return &sdkauth.TokenInfo{
		UserID: p.String(), Scopes: c.scopes(), Extra: extra,
		Expiration: c.Expiry.Time().Add(j.leeway),
	}, nil
}

func (c *claims) scopes() []string {
	return strings.Fields(c.Scope + " " + strings.Join(c.Scp, " "))
}
