package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// policyFlags say how long sessions live, how many there may be, and what must
// stay the same during one. Times that are not given are the profile's.
type policyFlags struct {
	Profile string `default:"default" enum:"default,strict" help:"What the other flags default to: default, 24 h and 2 h; or strict, 12 h and 15 min, for assurance level 3."`

	SessionDuration    span   `placeholder:"24h" help:"A session ends so long after it began; strict: 12h."`
	IdleTimeout        span   `placeholder:"2h" help:"A session ends when it was not used for so long; strict: 15m at most."`
	MaxSessionsPerUser int    `default:"5" help:"So many sessions of one user at most; 0 for any number."`
	OnLimit            string `default:"evict" enum:"evict,refuse" help:"Over --max-sessions-per-user: evict the user's oldest, or refuse the new one."`
	MaxSessions        int    `default:"0" help:"So many sessions of all users at most, one more is refused; 0 for any number."`
	MaxNewSessions     int    `default:"100" help:"So many new sessions a second from one address, or network of IPv6, over ten seconds; 0 for any number."`
	CleanupInterval    span   `default:"15m" help:"How often expired sessions are removed."`
	IDBytes            int    `name:"id-bytes" default:"32" help:"Random bytes in a session id's secret, 16 to 64."`

	BindAddress bindAddress `placeholder:"HOW" help:"What of a client's address must stay the same during a session: exact, network, or network/V4/V6 with the bits that count, such as network/24/64."`
	BindAgent   bool        `help:"A client's user agent must stay the same during a session."`
	OnMismatch  mismatches  `placeholder:"HOW" help:"What a request that does not fit its session meets: refuse, as if there were no such session; end, which ends the session too; note lets other addresses and agents pass. For another user's request note is refuse. By default refuse; strict ends the session for another user's."`
}

// checkPolicy refuses what the library would understand otherwise.
func (f *policyFlags) checkPolicy() error {
	switch {
	case f.MaxSessionsPerUser < 0:
		return usagef("--max-sessions-per-user: write how many sessions a user may have, or 0 for any number")
	case f.MaxSessions < 0:
		return usagef("--max-sessions: write how many sessions there may be, or 0 for any number")
	case f.MaxNewSessions < 0:
		return usagef("--max-new-sessions: write how many sessions may begin a second, or 0 for any number")
	}
	if err := f.policy().Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// policy returns the profile's with what the flags say.
func (f *policyFlags) policy() session.Policy {
	var p session.Policy
	if f.Profile == "strict" {
		p = session.Strict()
	}
	if f.SessionDuration > 0 {
		p.AbsoluteLifetime = time.Duration(f.SessionDuration)
	}
	if f.IdleTimeout > 0 {
		p.IdleTimeout, p.TouchInterval = time.Duration(f.IdleTimeout), 0
	}
	p.MaxPerUser = f.MaxSessionsPerUser
	if p.MaxPerUser == 0 {
		p.MaxPerUser = -1 // the library's word for any number
	}
	p.RefuseOverLimit = f.OnLimit == "refuse"
	p.MaxTotal = f.MaxSessions
	p.NewPerAddress = f.MaxNewSessions
	p.SweepInterval = time.Duration(f.CleanupInterval)
	p.SecretBytes = f.IDBytes
	p.Binding.Address, p.Binding.UserAgent = f.BindAddress.how, f.BindAgent
	p.Binding.IPv4Bits, p.Binding.IPv6Bits = f.BindAddress.v4, f.BindAddress.v6
	f.OnMismatch.apply(&p.Binding)
	return p
}

// bindAddress is how much of an address must stay the same.
type bindAddress struct {
	how    session.AddressBinding
	v4, v6 int
}

func (b *bindAddress) UnmarshalText(text []byte) error {
	how, bits, given := strings.Cut(string(text), "/")
	switch {
	case string(text) == "exact":
		*b = bindAddress{how: session.SameAddress}
		return nil
	case how == "network" && !given:
		*b = bindAddress{how: session.SameNetwork}
		return nil
	}
	four, six, both := strings.Cut(bits, "/")
	v4, err4 := strconv.Atoi(four)
	v6, err6 := strconv.Atoi(six)
	if how != "network" || !both || err4 != nil || err6 != nil || v4 < 1 || v4 > 32 || v6 < 1 || v6 > 128 {
		return fmt.Errorf("%q says nothing of addresses: write exact, network, or network/24/64", text)
	}
	*b = bindAddress{how: session.SameNetwork, v4: v4, v6: v6}
	return nil
}

// mismatches is what a request meets that does not fit; "" is the profile's.
type mismatches string

func (m *mismatches) UnmarshalText(text []byte) error {
	switch string(text) {
	case "refuse", "end", "note":
		*m = mismatches(text)
		return nil
	}
	return fmt.Errorf("%q is no answer to a mismatch: write refuse, end or note", text)
}

func (m mismatches) apply(b *session.Binding) {
	switch m {
	case "refuse":
		b.Principal, b.Client = session.Refuse, session.Refuse
	case "end":
		b.Principal, b.Client = session.End, session.End
	case "note":
		b.Principal, b.Client = session.Refuse, session.Note
	}
}
