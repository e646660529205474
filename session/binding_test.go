package session_test

import (
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func boundSession(b *bench) *session.Session {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), session.CreateRequest{
		User: "ann", Metadata: state.Metadata{Address: netip.MustParseAddr("192.0.2.7"), UserAgent: "agent/1"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.journal.take()
	return s
}

func caller(user, address, agent string) session.Caller {
	c := session.Caller{User: user, UserAgent: agent}
	if address != "" {
		c.Address = netip.MustParseAddr(address)
	}
	return c
}

func TestBindingMismatches(t *testing.T) {
	network := session.Binding{Address: session.SameNetwork}
	exact := session.Binding{Address: session.SameAddress}
	agent := session.Binding{UserAgent: true}
	for name, c := range map[string]struct {
		binding session.Binding
		caller  session.Caller
		want    string
	}{
		"nothing else asked":      {session.Binding{}, caller("ann", "203.0.113.9", "other"), ""},
		"another principal":       {session.Binding{}, caller("eve", "192.0.2.7", "agent/1"), session.MismatchPrincipal},
		"no principal":            {session.Binding{}, caller("", "192.0.2.7", "agent/1"), session.MismatchPrincipal},
		"same address":            {exact, caller("ann", "192.0.2.7", ""), ""},
		"neighbour's address":     {exact, caller("ann", "192.0.2.8", ""), session.MismatchAddress},
		"no address":              {exact, caller("ann", "", ""), session.MismatchAddress},
		"same network":            {network, caller("ann", "192.0.2.200", ""), ""},
		"another network":         {network, caller("ann", "192.0.3.7", ""), session.MismatchAddress},
		"other family":            {network, caller("ann", "2001:db8::7", ""), session.MismatchAddress},
		"no address for network":  {network, caller("ann", "", ""), session.MismatchAddress},
		"wider network":           {session.Binding{Address: session.SameNetwork, IPv4Bits: 16}, caller("ann", "192.0.3.7", ""), ""},
		"same agent":              {agent, caller("ann", "", "agent/1"), ""},
		"another agent":           {agent, caller("ann", "", "agent/2"), session.MismatchUserAgent},
		"no agent":                {agent, caller("ann", "", ""), session.MismatchUserAgent},
		"principal before others": {exact, caller("eve", "203.0.113.9", ""), session.MismatchPrincipal},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, session.Policy{Binding: c.binding})
			s := boundSession(b)
			_, err := b.AccessBy(t.Context(), s.ID, c.caller)
			_, again := b.AuthorizeBy(t.Context(), s.ID, c.caller)
			if err != again || c.want == "" && err != nil || c.want != "" && err != session.ErrNotFound {
				t.Fatalf("got %v, %v", err, again)
			}
			events := b.journal.take()
			if c.want == "" {
				if len(events) != 0 {
					t.Errorf("events %+v", events)
				}
				return
			}
			if len(events) != 2 || events[0].Type != session.EventBindingMismatch || events[0].What != c.want ||
				events[0].User != "ann" || events[0].By != c.caller.User || events[0].Address != c.caller.Address {
				t.Errorf("events %+v", events)
			}
			b.get(s.ID)
		})
	}
}

func TestAMismatchMayEndTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		binding session.Binding
		caller  session.Caller
		ends    bool
	}{
		"stolen, and asked to end":  {session.Binding{Principal: session.End}, caller("eve", "", ""), true},
		"moved, and asked to end":   {session.Binding{Address: session.SameAddress, Client: session.End}, caller("ann", "203.0.113.9", ""), true},
		"stolen, of clients only":   {session.Binding{Client: session.End}, caller("eve", "", ""), false},
		"moved, of principals only": {session.Binding{Address: session.SameAddress, Principal: session.End}, caller("ann", "203.0.113.9", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, session.Policy{Binding: c.binding})
			s := boundSession(b)
			_, err := b.AccessBy(t.Context(), s.ID, c.caller)
			_, gone := b.Get(t.Context(), s.ID)
			if (gone != nil) != c.ends || c.ends && err != session.ErrNotFound {
				t.Fatalf("answered %v, then %v", err, gone)
			}
			if ends := b.journal.of(session.EventEnded); c.ends && (len(ends) != 1 || ends[0].Reason != state.ReasonBinding) {
				t.Errorf("endings %+v", ends)
			}
		})
	}
}

func TestAMismatchMayBeNotedOnly(t *testing.T) {
	b := newBench(t, session.Policy{Binding: session.Binding{Address: session.SameAddress, UserAgent: true, Client: session.Note}})
	s := boundSession(b)
	if _, err := b.AccessBy(t.Context(), s.ID, caller("ann", "203.0.113.9", "agent/1")); err != nil {
		t.Fatal(err)
	}
	if n := len(b.journal.of(session.EventBindingMismatch)); n != 1 {
		t.Errorf("%d mismatches", n)
	}
}

func TestWhatWasNotKnownIsNotCompared(t *testing.T) {
	b := newBench(t, session.Policy{Binding: session.Binding{Address: session.SameAddress, UserAgent: true}})
	s := b.create("ann")
	if _, err := b.AccessBy(t.Context(), s.ID, caller("ann", "203.0.113.9", "agent/1")); err != nil {
		t.Fatal(err)
	}
	// Signing in again binds to where that happened.
	next, err := b.SignIn(t.Context(), s.ID, session.SignInRequest{
		User: "ann", Metadata: state.Metadata{Address: netip.MustParseAddr("203.0.113.9")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AccessBy(t.Context(), next.ID, caller("ann", "203.0.113.10", "")); err != session.ErrNotFound {
		t.Errorf("got %v", err)
	}
}

func TestCallerIsCollectedAsMetadataIs(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "[::ffff:192.0.2.7]:4711"
	r.Header.Set("User-Agent", "agent\x00/1")
	var collector session.Collector
	md, c := collector.Collect(r), collector.Caller(r, "ann")
	if c.User != "ann" || c.Address != md.Address || c.UserAgent != md.UserAgent || c.UserAgent != "agent/1" {
		t.Errorf("got %+v, metadata %+v", c, md)
	}
}
