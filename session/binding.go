package session

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Caller is who makes a request, and from where.
type Caller struct {
	// User is the principal, from verified credentials; empty for nobody.
	User      string
	Address   netip.Addr
	UserAgent string
}

// Caller says who makes the request, collected as [Collector.Collect] does for
// the metadata of a session, so that the two can be compared.
func (c Collector) Caller(r *http.Request, user string) Caller {
	return Caller{User: user, Address: c.Address(r), UserAgent: cutText(r.UserAgent(), state.MaxAgentBytes)}
}

// A Binding says what a request must have in common with the one that began
// the session, or last signed in to it. The principal always must be the same.
// Address and user agent are signs, not proofs: people move from one network
// to another, and a thief can send any user agent.
//
// What was not known when the session began is not compared. If it was, and a
// request does not tell, that is a mismatch.
type Binding struct {
	// Principal says what becomes of a session whose id was presented by
	// another principal: Refuse or End. The request is refused either way.
	Principal Mismatch
	// Address says how much of the address must be the same.
	Address AddressBinding
	// IPv4Bits and IPv6Bits are the length of the prefix for SameNetwork;
	// zero: 24 and 64.
	IPv4Bits, IPv6Bits int
	// UserAgent says that the user agent must be the same.
	UserAgent bool
	// Client says what a mismatch of address or user agent does.
	Client Mismatch
}

// A Mismatch says what is done when a request does not fit its session. An
// [EventBindingMismatch] is emitted each time.
type Mismatch int

const (
	// Refuse answers [ErrNotFound], as for an id that was never issued.
	Refuse Mismatch = iota
	// End does that, and ends the session: its rightful user too has to begin
	// anew. That the id is known to somebody can be told then, by the time
	// that the ending takes.
	End
	// Note lets the request pass.
	Note
)

// An AddressBinding says how much of a client's address must stay the same.
type AddressBinding int

const (
	// AnyAddress compares nothing.
	AnyAddress AddressBinding = iota
	// SameNetwork compares the prefix.
	SameNetwork
	// SameAddress compares the whole address.
	SameAddress
)

// What of a request did not fit, as events say.
const (
	MismatchPrincipal = "principal"
	MismatchAddress   = "address"
	MismatchUserAgent = "user-agent"
)

func (b Binding) check() error {
	switch {
	case b.Principal != Refuse && b.Principal != End:
		return fmt.Errorf("%w: requests of other principals cannot be let through, use Refuse or End", ErrPolicy)
	case b.Client < Refuse || b.Client > Note:
		return fmt.Errorf("%w: unknown answer to a mismatch, use Refuse, End or Note", ErrPolicy)
	case b.Address < AnyAddress || b.Address > SameAddress:
		return fmt.Errorf("%w: unknown address binding, use AnyAddress, SameNetwork or SameAddress", ErrPolicy)
	case b.IPv4Bits < 0 || b.IPv4Bits > 32 || b.IPv6Bits < 0 || b.IPv6Bits > 128:
		return fmt.Errorf("%w: the address prefixes have %d and %d bits, use at most 32 and 128", ErrPolicy, b.IPv4Bits, b.IPv6Bits)
	}
	return nil
}

// mismatch returns what of the caller does not fit the session, and what is to
// be done; "" if all does.
func (b Binding) mismatch(s *Session, c *Caller) (what string, do Mismatch) {
	switch {
	case subtle.ConstantTimeCompare([]byte(s.User), []byte(c.User)) != 1:
		return MismatchPrincipal, b.Principal
	case !b.sameAddress(s.Metadata.Address, c.Address):
		return MismatchAddress, b.Client
	case b.UserAgent && s.Metadata.UserAgent != "" && s.Metadata.UserAgent != c.UserAgent:
		return MismatchUserAgent, b.Client
	}
	return "", Refuse
}

func (b Binding) sameAddress(was, is netip.Addr) bool {
	switch {
	case b.Address == AnyAddress || !was.IsValid() || was == is:
		return true
	case b.Address == SameAddress:
		return false
	}
	bits := b.IPv6Bits
	if was.Is4() {
		bits = b.IPv4Bits
	}
	network, err := was.Prefix(bits)
	return err == nil && network.Contains(is)
}

// bound refuses a caller who does not fit the session.
func (m *Manager) bound(ctx context.Context, s *Session, c Caller) error {
	return m.judge(ctx, m.policy.Binding, s, c)
}

// own refuses another principal, wherever the request comes from.
func (m *Manager) own(ctx context.Context, s *Session, c Caller) error {
	return m.judge(ctx, Binding{Principal: m.policy.Binding.Principal}, s, c)
}

func (m *Manager) judge(ctx context.Context, b Binding, s *Session, c Caller) error {
	what, do := b.mismatch(s, &c)
	if what == "" {
		return nil
	}
	m.emit(ctx, Event{
		Type: EventBindingMismatch, At: m.clock(), Ref: s.Ref, User: s.User, By: c.User, What: what, Address: c.Address,
	})
	if do == Note {
		return nil
	}
	if do == End {
		if _, err := m.end(context.WithoutCancel(ctx), s.Ref, state.ReasonBinding, "binding policy"); err != nil {
			m.log.WarnContext(ctx, "could not end a session whose id was presented by somebody else; the request is refused", "ref", s.Ref, "error", err)
		}
	}
	return ErrNotFound
}
