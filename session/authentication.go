package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An Authentication says when and how a user proved who they are.
type Authentication struct {
	// At is when; zero: now. A time in the future counts as now.
	At time.Time
	// Methods name how, best as RFC 8176 does: "pwd", "otp", "hwk". At most
	// 16, of the characters of [state.CheckName].
	Methods []string
}

// maxMethods bounds the methods of a session.
const maxMethods = 16

// proofKey holds the authentications of a session.
const proofKey = ReservedPrefix + "authenticated"

// proofs are the authentications of a session: the last one, and when each
// method was last used.
type proofs struct {
	At      time.Time            `json:"at"`
	Methods map[string]time.Time `json:"methods,omitempty"`
}

func proofsIn(data map[string]json.RawMessage) (p proofs, found bool) {
	raw, found := data[proofKey]
	return p, found && json.Unmarshal(raw, &p) == nil
}

// noteProof adds an authentication to those noted in data.
func noteProof(data map[string]json.RawMessage, a Authentication, now time.Time) error {
	at := a.At
	if at.IsZero() || at.After(now) {
		at = now
	}
	at = state.Cut(at)
	p, _ := proofsIn(data)
	if at.After(p.At) {
		p.At = at
	}
	if p.Methods == nil {
		p.Methods = map[string]time.Time{}
	}
	for _, method := range a.Methods {
		if err := state.CheckName("authentication method", method); err != nil {
			return err
		}
		if at.After(p.Methods[method]) {
			p.Methods[method] = at
		}
	}
	if len(p.Methods) > maxMethods {
		return &state.BoundError{What: "authentication methods", Size: len(p.Methods), Max: maxMethods}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("note an authentication: %w", &state.InvalidError{What: "time of the authentication", Why: "out of range"})
	}
	data[proofKey] = raw
	return nil
}

// AuthTime returns when the user last proved who they are, by any method; or,
// with methods, the earliest of the times at which each of them was last used.
// It is zero if nobody did, or not by all of those methods.
//
// Only [Manager.SignIn] and [CreateRequest.Authentication] note that. Where
// each request brings credentials of its own, as with bearer tokens, there is
// no need to.
func (s *Session) AuthTime(methods ...string) time.Time {
	p, _ := proofsIn(s.Data)
	if len(methods) == 0 {
		return p.At
	}
	earliest := p.Methods[methods[0]]
	for _, method := range methods[1:] {
		if at := p.Methods[method]; at.Before(earliest) {
			earliest = at
		}
	}
	return earliest
}

// AuthMethods returns the methods by which the user proved who they are in
// this session, in alphabetical order.
func (s *Session) AuthMethods() []string {
	p, _ := proofsIn(s.Data)
	return slices.Sorted(maps.Keys(p.Methods))
}

// AuthenticatedWithin reports whether the user proved who they are at most d
// ago, by the store's clock, and with each of the methods: what is asked before
// a sensitive step (OWASP ASVS 5.0, 7.5.1 and 7.5.3). If it is not, let the
// user authenticate and call [Manager.SignIn] again.
func (s *Session) AuthenticatedWithin(d time.Duration, methods ...string) bool {
	at := s.AuthTime(methods...)
	return !at.IsZero() && s.now().Sub(at) <= d
}
