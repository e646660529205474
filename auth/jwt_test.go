package auth_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

func TestJWTOfEachAlgorithmIsAccepted(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			s := newSigner(t, "k1", alg)
			j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{
				{Name: acme, Keys: openKeys(t, newJWKSServer(t, document(t, s.public())).URL, auth.KeysOptions{})},
			}})
			claims := with(with(claimsOf(acme, "ann"), "scope", "read write"), "client_id", "cli")
			info, err := j.Verify(t.Context(), s.sign(t, claims), nil)
			if err != nil {
				t.Fatal(err)
			}
			if info.UserID != acme+" ann" || !slices.Equal(info.Scopes, []string{"read", "write"}) ||
				info.Extra["iss"] != acme || info.Extra["sub"] != "ann" || info.Extra["client_id"] != "cli" {
				t.Errorf("got %+v", info)
			}
			if left := time.Until(info.Expiration); left < 59*time.Minute || left > time.Hour+auth.DefaultLeeway {
				t.Errorf("expires in %v", left)
			}
		})
	}
}

// token puts together what no library would.
func token(header, payload map[string]any, signature []byte) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(header) + "." + part(payload) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// hs256 signs with the text of a public key: what a verifier that takes the
// algorithm from the token would check with that key.
func hs256(payload map[string]any, key []byte) string {
	unsigned := strings.TrimSuffix(token(map[string]any{"alg": "HS256", "kid": "k1"}, payload, nil), ".")
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(unsigned))
	return unsigned + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestHostileJWTsAreRefused(t *testing.T) {
	good := newSigner(t, "k1", jose.RS256)
	stranger := newSigner(t, "k1", jose.RS256)
	elsewhere := newSigner(t, "k9", jose.RS256)
	globexKey := newSigner(t, "g1", jose.ES256)
	j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{
		{Name: acme, Keys: openKeys(t, newJWKSServer(t, document(t, good.public())).URL, auth.KeysOptions{})},
		{Name: globex, Keys: openKeys(t, newJWKSServer(t, document(t, globexKey.public())).URL, auth.KeysOptions{})},
	}})
	claims := claimsOf(acme, "ann")
	if _, err := j.Verify(t.Context(), good.sign(t, claims), nil); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(good.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	signed := good.sign(t, claims)
	parts := strings.Split(signed, ".")
	now := time.Now()
	later, past := now.Add(10*time.Minute).Unix(), now.Add(-10*time.Minute).Unix()

	for name, c := range map[string]struct {
		token string
		want  auth.Reason
	}{
		"empty":                        {"", auth.ReasonMalformed},
		"not a JWT":                    {"q0Hn3dXkz7Yc5mVb1LsTfA==", auth.ReasonMalformed},
		"two parts":                    {parts[0] + "." + parts[1], auth.ReasonMalformed},
		"four parts":                   {signed + ".x", auth.ReasonMalformed},
		"alg none":                     {token(map[string]any{"alg": "none"}, claims, nil), auth.ReasonMalformed},
		"alg none, other case":         {token(map[string]any{"alg": "nOnE", "kid": "k1"}, claims, nil), auth.ReasonMalformed},
		"no alg":                       {token(map[string]any{"kid": "k1"}, claims, nil), auth.ReasonMalformed},
		"HS256 with the public key":    {hs256(claims, text), auth.ReasonMalformed},
		"HS256 with its DER":           {hs256(claims, der), auth.ReasonMalformed},
		"no signature":                 {parts[0] + "." + parts[1] + ".", auth.ReasonSignature},
		"another's signature":          {stranger.sign(t, claims), auth.ReasonSignature},
		"unknown kid":                  {elsewhere.sign(t, claims), auth.ReasonSignature},
		"key in the header":            {stranger.signAs(t, claims, map[jose.HeaderKey]any{"jwk": stranger.public()}), auth.ReasonSignature},
		"URL of a key in the header":   {stranger.signAs(t, claims, map[jose.HeaderKey]any{"jku": "https://evil.example/jwks"}), auth.ReasonSignature},
		"critical extension":           {good.signAs(t, claims, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), auth.ReasonSignature},
		"other payload":                {parts[0] + "." + strings.Split(good.sign(t, claimsOf(acme, "eve")), ".")[1] + "." + parts[2], auth.ReasonSignature},
		"another kind of token":        {good.signAs(t, claims, map[jose.HeaderKey]any{"typ": "logout+jwt"}), auth.ReasonMalformed},
		"kind that is no string":       {good.signAs(t, claims, map[jose.HeaderKey]any{"typ": 1}), auth.ReasonMalformed},
		"unknown issuer":               {good.sign(t, with(claims, "iss", "https://evil.example")), auth.ReasonIssuer},
		"no issuer":                    {good.sign(t, with(claims, "iss", nil)), auth.ReasonIssuer},
		"issuer with a slash more":     {good.sign(t, with(claims, "iss", acme+"/")), auth.ReasonIssuer},
		"issuer that is a list":        {good.sign(t, with(claims, "iss", []string{acme})), auth.ReasonMalformed},
		"another issuer's key":         {globexKey.sign(t, claims), auth.ReasonSignature},
		"for another audience":         {good.sign(t, with(claims, "aud", "https://other.example")), auth.ReasonAudience},
		"for a prefix of the audience": {good.sign(t, with(claims, "aud", "https://mcp.example")), auth.ReasonAudience},
		"for nobody":                   {good.sign(t, with(claims, "aud", nil)), auth.ReasonAudience},
		"for an empty list":            {good.sign(t, with(claims, "aud", []string{})), auth.ReasonAudience},
		"expired":                      {good.sign(t, with(claims, "exp", past)), auth.ReasonExpired},
		"without an end":               {good.sign(t, with(claims, "exp", nil)), auth.ReasonExpired},
		"end that is text":             {good.sign(t, with(claims, "exp", "tomorrow")), auth.ReasonMalformed},
		"not yet valid":                {good.sign(t, with(claims, "nbf", later)), auth.ReasonNotYet},
		"issued in the future":         {good.sign(t, with(claims, "iat", later)), auth.ReasonNotYet},
		"no subject":                   {good.sign(t, with(claims, "sub", nil)), auth.ReasonSubject},
		"empty subject":                {good.sign(t, with(claims, "sub", "")), auth.ReasonSubject},
		"subject with a line break":    {good.sign(t, with(claims, "sub", "ann\nroot")), auth.ReasonSubject},
		"subject too long":             {good.sign(t, with(claims, "sub", strings.Repeat("a", 600))), auth.ReasonSubject},
		"huge":                         {good.sign(t, with(claims, "x", strings.Repeat("a", 64<<10))), auth.ReasonTooLarge},
		"huge and nothing else":        {strings.Repeat("a.", 1<<20), auth.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := j.Verify(t.Context(), c.token, nil)
			var refused *auth.RefusedError
			if !errors.As(err, &refused) || refused.Reason != c.want || info != nil {
				t.Fatalf("got %+v, %#v, want %s", info, err, c.want)
			}
			if !errors.Is(err, sdkauth.ErrInvalidToken) || err.Error() != sdkauth.ErrInvalidToken.Error() {
				t.Errorf("clients are told %q", err)
			}
		})
	}
}

func TestEqualSubjectsOfTwoIssuersAreTwoUsers(t *testing.T) {
	a, g := newSigner(t, "same", jose.ES256), newSigner(t, "same", jose.ES256)
	j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{
		{Name: acme, Keys: openKeys(t, newJWKSServer(t, document(t, a.public())).URL, auth.KeysOptions{})},
		{Name: globex, Keys: openKeys(t, newJWKSServer(t, document(t, g.public())).URL, auth.KeysOptions{})},
	}})
	first, err := j.Verify(t.Context(), a.sign(t, claimsOf(acme, "ann")), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := j.Verify(t.Context(), g.sign(t, claimsOf(globex, "ann")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.UserID == second.UserID {
		t.Errorf("both are %q", first.UserID)
	}
	// Nor does one issuer's key speak for the other, though the ids agree.
	if _, err := j.Verify(t.Context(), g.sign(t, claimsOf(acme, "ann")), nil); err == nil {
		t.Error("a key of one issuer verified a token of another")
	}
}

func TestLeewayIsWhatClocksMayDiffer(t *testing.T) {
	s := newSigner(t, "k1", jose.EdDSA)
	keys := openKeys(t, newJWKSServer(t, document(t, s.public())).URL, auth.KeysOptions{})
	for _, c := range []struct {
		leeway time.Duration
		off    time.Duration
		ok     bool
	}{
		{0, 25 * time.Second, true}, {0, 40 * time.Second, false},
		{2 * time.Minute, 100 * time.Second, true}, {2 * time.Minute, 3 * time.Minute, false},
		{-1, 10 * time.Second, false},
	} {
		j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{{Name: acme, Keys: keys}}, Leeway: c.leeway})
		expired := with(claimsOf(acme, "ann"), "exp", time.Now().Add(-c.off).Unix())
		early := with(claimsOf(acme, "ann"), "nbf", time.Now().Add(c.off).Unix())
		for _, claims := range []map[string]any{expired, early} {
			if _, err := j.Verify(t.Context(), s.sign(t, claims), nil); (err == nil) != c.ok {
				t.Errorf("leeway %v, off by %v: %v", c.leeway, c.off, err)
			}
		}
	}
}

func TestJWTNeedsIssuerAndAudience(t *testing.T) {
	keys := openKeys(t, newJWKSServer(t, document(t, newSigner(t, "k1", jose.EdDSA).public())).URL, auth.KeysOptions{})
	issuer := auth.Issuer{Name: acme, Keys: keys}
	for name, opts := range map[string]auth.JWTOptions{
		"no issuer":         {Audiences: []string{audience}},
		"no audience":       {Issuers: []auth.Issuer{issuer}},
		"empty audience":    {Issuers: []auth.Issuer{issuer}, Audiences: []string{""}},
		"no keys":           {Issuers: []auth.Issuer{{Name: acme}}, Audiences: []string{audience}},
		"twice":             {Issuers: []auth.Issuer{issuer, issuer}, Audiences: []string{audience}},
		"issuer with blank": {Issuers: []auth.Issuer{{Name: "a b", Keys: keys}}, Audiences: []string{audience}},
		"wide leeway":       {Issuers: []auth.Issuer{issuer}, Audiences: []string{audience}, Leeway: time.Hour},
	} {
		if _, err := auth.NewJWT(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever is presented, only what the key has signed is accepted.
func FuzzJWT(f *testing.F) {
	s := newSigner(f, "k1", jose.EdDSA)
	j := newJWT(f, auth.JWTOptions{Issuers: []auth.Issuer{
		{Name: acme, Keys: openKeys(f, newJWKSServer(f, document(f, s.public())).URL, auth.KeysOptions{MinRefetch: time.Hour})},
	}})
	good := s.sign(f, claimsOf(acme, "ann"))
	signed := good[:strings.LastIndexByte(good, '.')]
	for _, seed := range []string{
		"", ".", "..", "...", good, good + ".", " " + good, strings.ToUpper(good), signed + ".",
		token(map[string]any{"alg": "none"}, claimsOf(acme, "ann"), nil),
		hs256(claimsOf(acme, "ann"), []byte("key")),
		`{"payload":"","signatures":[]}`,
		token(map[string]any{"alg": "EdDSA", "kid": "k1", "b64": false, "crit": []string{"b64"}}, claimsOf(acme, "ann"), nil),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		info, err := j.Verify(t.Context(), text, nil)
		if err == nil && (!bytes.HasPrefix([]byte(text), []byte(signed)) || info.UserID != acme+" ann") {
			t.Errorf("accepted %q as %+v", text, info)
		}
	})
}
