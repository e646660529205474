package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a key set.
const (
	// MaxKeySetBytes bounds a JWKS document.
	MaxKeySetBytes = 1 << 20
	// MaxKeys bounds the keys of a set.
	MaxKeys = 256
	// maxTried bounds how many keys are tried for a token that names none.
	maxTried = 8

	minRSABits, maxRSABits = 2048, 8192
)

// A keySet is an issuer's public keys. It is immutable.
type keySet struct{ keys []jose.JSONWebKey }

// parseKeySet reads a JWKS document (RFC 7517). Keys that are of no use here,
// of an unknown type or for encryption, are left out, as the RFC asks. A set
// that has nothing else is an error; so is one with a secret in it: whoever
// published that must be told.
func parseKeySet(text []byte) (*keySet, error) {
	if len(text) > MaxKeySetBytes {
		return nil, fmt.Errorf("the key set has more than %d bytes", MaxKeySetBytes)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, errors.New("not a JWKS document: write {\"keys\": [...]}")
	}
	if len(doc.Keys) > MaxKeys {
		return nil, fmt.Errorf("the key set has more than %d keys", MaxKeys)
	}
	set := &keySet{}
	for i, raw := range doc.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil {
			continue
		}
		if !key.IsPublic() {
			return nil, fmt.Errorf("key %d is private or symmetric: publish public keys only, and replace this one", i+1)
		}
		if usable(&key) {
			key.Certificates = nil
			set.keys = append(set.keys, key)
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("no key that verifies signatures: use RSA of at least 2048 bits, EC on P-256, P-384 or P-521, or Ed25519")
	}
	return set, nil
}

func usable(key *jose.JSONWebKey) bool {
	if !key.Valid() || key.Use != "" && key.Use != "sig" {
		return false
	}
	if k, ok := key.Key.(*rsa.PublicKey); ok {
		bits := k.N.BitLen()
		return bits >= minRSABits && bits <= maxRSABits
	}
	return true
}

// find returns the keys that may have signed a token with this header: those
// of its key id, or if it names none, all that fit its algorithm.
func (s *keySet) find(kid, alg string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, key := range s.keys {
		if kid != "" && key.KeyID != kid {
			continue
		}
		if fits(&key, alg) && len(found) < maxTried {
			found = append(found, key)
		}
	}
	return found
}

// has reports whether a key of that id is there, whatever it is for.
func (s *keySet) has(kid string) bool {
	for _, key := range s.keys {
		if key.KeyID == kid {
			return true
		}
	}
	return false
}

// fits reports whether the key is for the algorithm (RFC 8725, 3.1).
func fits(key *jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
