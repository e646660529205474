package auth

import (
	"errors"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
)

// A Reason says why a request was not let in, for audits and metrics. Clients
// are not told.
type Reason string

const (
	ReasonMissing   Reason = "missing"   // no credentials
	ReasonAmbiguous Reason = "ambiguous" // several Authorization headers
	ReasonMalformed Reason = "malformed" // no bearer token, or not of the kind expected
	ReasonTooLarge  Reason = "too_large"
	ReasonUnknown   Reason = "unknown" // not in the tokens file
	ReasonIssuer    Reason = "issuer"
	ReasonSignature Reason = "signature" // unknown key, wrong algorithm or signature
	ReasonAudience  Reason = "audience"
	ReasonSubject   Reason = "subject" // none, or one that cannot be a user
	ReasonExpired   Reason = "expired" // or without an end
	ReasonNotYet    Reason = "not_yet"
	ReasonScope     Reason = "scope"
	// ReasonUnavailable: the token could not be judged.
	ReasonUnavailable Reason = "unavailable"
)

// Reasons are all there are.
func Reasons() []Reason {
	return []Reason{
		ReasonMissing, ReasonAmbiguous, ReasonMalformed, ReasonTooLarge, ReasonUnknown, ReasonIssuer, ReasonSignature,
		ReasonAudience, ReasonSubject, ReasonExpired, ReasonNotYet, ReasonScope, ReasonUnavailable,
	}
}

// A RefusedError says why a token was refused. It is the SDK's ErrInvalidToken,
// and its text says no more: it reaches the client.
type RefusedError struct{ Reason Reason }

func (e *RefusedError) Error() string { return sdkauth.ErrInvalidToken.Error() }

// Unwrap returns the SDK's ErrInvalidToken.
func (e *RefusedError) Unwrap() error { return sdkauth.ErrInvalidToken }

func refused(r Reason) error { return &RefusedError{Reason: r} }

// reasonOf returns why a verifier refused.
func reasonOf(err error) Reason {
	var r *RefusedError
	switch {
	case errors.As(err, &r):
		return r.Reason
	case errors.Is(err, sdkauth.ErrInvalidToken):
		return ReasonUnknown
	}
	return ReasonUnavailable
}
