package session

import (
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Policy says how long sessions live and how many there may be. Zero fields
// stand for the defaults. Both timeouts always apply (OWASP ASVS 5.0, 7.3.1
// and 7.3.2; the limit is 7.1.2).
type Policy struct {
	// IdleTimeout ends a session that was not accessed for so long; zero: 2 h.
	IdleTimeout time.Duration
	// AbsoluteLifetime ends a session so long after its creation; zero: 24 h.
	AbsoluteLifetime time.Duration
	// MaxLifetime is how long after its creation Extend may let a session
	// live; zero: AbsoluteLifetime.
	MaxLifetime time.Duration
	// MaxPerUser is how many live sessions a user may have; zero: 5, below
	// zero: any number. 1 is single-session mode: a new session ends all
	// others. Sessions without a user are not limited by it.
	MaxPerUser int
	// RefuseOverLimit refuses a session over MaxPerUser with ErrLimit. By
	// default the user's oldest is ended.
	RefuseOverLimit bool
	// MaxTotal is how many live sessions there may be of all users; one more
	// is ErrLimit. Zero: any number.
	MaxTotal int
	// NewPerAddress is how many sessions a second may be begun from one
	// address, or one /64 of IPv6, reckoned over ten seconds and by each
	// Manager for itself; one more is a RateError, which is ErrLimit. Sessions
	// whose metadata have no address are not limited by it. Zero: any number.
	NewPerAddress int
	// SweepInterval is how often Run removes expired sessions; zero: 15 min.
	SweepInterval time.Duration
	// TouchInterval is how often at most the use of a session is written
	// down; zero: a minute, or a tenth of IdleTimeout, or ActiveWindow,
	// whichever is the least. An idle session ends at most so much late.
	TouchInterval time.Duration
	// ActiveWindow is how long after an access a session is Active; zero: 5 min.
	ActiveWindow time.Duration
	// RegenerateInterval is how long a secret is used before Session says
	// RegenerateDue; zero: for the whole session.
	RegenerateInterval time.Duration
	// RegenerateGrace is how long the old secret works beside the new one
	// after a periodic regeneration; zero: 30 s.
	RegenerateGrace time.Duration
	// Binding is what requests must have in common with the one that began
	// their session; zero: the principal alone.
	Binding Binding
	// SecretBytes is the length of secrets, from 16 to 64; zero: 32.
	SecretBytes int
}

// Defaults returns p with the zero fields filled in.
func (p Policy) Defaults() Policy {
	fill(&p.IdleTimeout, 2*time.Hour)
	fill(&p.AbsoluteLifetime, 24*time.Hour)
	fill(&p.MaxLifetime, p.AbsoluteLifetime)
	fill(&p.MaxPerUser, 5)
	fill(&p.SweepInterval, 15*time.Minute)
	fill(&p.ActiveWindow, 5*time.Minute)
	fill(&p.TouchInterval, max(state.Precision, min(time.Minute, p.IdleTimeout/10, p.ActiveWindow)))
	fill(&p.RegenerateGrace, 30*time.Second)
	fill(&p.Binding.IPv4Bits, 24)
	fill(&p.Binding.IPv6Bits, 64)
	fill(&p.SecretBytes, 32)
	return p
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxNewPerAddress is more than any server can begin.
const maxNewPerAddress = 1_000_000

// maxTimeout keeps every sum of a policy within what stores accept.
const maxTimeout = 50 * 365 * 24 * time.Hour

// Check says what is wrong with the policy, zero fields standing for the
// defaults. The error is an [ErrPolicy].
func (p Policy) Check() error {
	p = p.Defaults()
	for _, f := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"idle timeout", p.IdleTimeout, state.Precision},
		{"absolute lifetime", p.AbsoluteLifetime, state.Precision},
		{"maximum lifetime", p.MaxLifetime, p.AbsoluteLifetime},
		{"sweep interval", p.SweepInterval, state.Precision},
		{"touch interval", p.TouchInterval, state.Precision},
		{"active window", p.ActiveWindow, p.TouchInterval},
		{"regeneration interval", p.RegenerateInterval, 0},
		{"regeneration grace", p.RegenerateGrace, 0},
	} {
		if f.value < f.least || f.value > maxTimeout {
			return fmt.Errorf("%w: %s is %v, use %v to %v", ErrPolicy, f.name, f.value, f.least, maxTimeout)
		}
	}
	switch {
	case p.TouchInterval > max(state.Precision, p.IdleTimeout):
		return fmt.Errorf("%w: touch interval %v is longer than the idle timeout %v", ErrPolicy, p.TouchInterval, p.IdleTimeout)
	case p.RegenerateInterval > 0 && p.RegenerateInterval < p.RegenerateGrace:
		return fmt.Errorf("%w: regeneration interval %v is shorter than its grace %v", ErrPolicy, p.RegenerateInterval, p.RegenerateGrace)
	case p.MaxTotal < 0:
		return fmt.Errorf("%w: the total limit is %d, use 0 for none", ErrPolicy, p.MaxTotal)
	case p.NewPerAddress < 0 || p.NewPerAddress > maxNewPerAddress:
		return fmt.Errorf("%w: %d new sessions a second from one address, use 0 to %d", ErrPolicy, p.NewPerAddress, maxNewPerAddress)
	case p.SecretBytes < MinSecretBytes || p.SecretBytes > MaxSecretBytes:
		return fmt.Errorf("%w: secrets of %d bytes, use %d to %d", ErrPolicy, p.SecretBytes, MinSecretBytes, MaxSecretBytes)
	}
	return p.Binding.check()
}

// limit is the policy as the store enforces it.
func (p Policy) limit() state.Limit {
	return state.Limit{PerUser: max(0, p.MaxPerUser), Refuse: p.RefuseOverLimit, Total: p.MaxTotal}
}

// idle is what a touch adds to now. The interval on top makes up for the
// accesses that are not written: a session in use never ends early.
func (p Policy) idle() time.Duration { return p.IdleTimeout + p.TouchInterval }
