package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

func TestPolicyDefaults(t *testing.T) {
	got := session.Policy{}.Defaults()
	want := session.Policy{
		IdleTimeout: 2 * time.Hour, AbsoluteLifetime: 24 * time.Hour, MaxLifetime: 24 * time.Hour,
		MaxPerUser: 5, SweepInterval: 15 * time.Minute, TouchInterval: time.Minute,
		ActiveWindow: 5 * time.Minute, RegenerateGrace: 30 * time.Second, SecretBytes: 32,
		Binding: session.Binding{IPv4Bits: 24, IPv6Bits: 64},
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
	if got.Defaults() != got || got.Check() != nil {
		t.Error("the defaults do not stand")
	}
}

func TestTouchIntervalFollowsTheIdleTimeout(t *testing.T) {
	for idle, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond,
		time.Second:      100 * time.Millisecond,
		10 * time.Minute: time.Minute,
		10 * time.Hour:   time.Minute,
	} {
		p := session.Policy{IdleTimeout: idle}
		if got := p.Defaults().TouchInterval; got != want {
			t.Errorf("idle %v: got %v, want %v", idle, got, want)
		}
		if err := p.Check(); err != nil {
			t.Errorf("idle %v: %v", idle, err)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	for name, p := range map[string]session.Policy{
		"short secret":          {SecretBytes: 15},
		"long secret":           {SecretBytes: 65},
		"negative secret":       {SecretBytes: -1},
		"negative idle":         {IdleTimeout: -1},
		"idle under precision":  {IdleTimeout: time.Microsecond},
		"negative lifetime":     {AbsoluteLifetime: -time.Hour},
		"endless":               {AbsoluteLifetime: 100 * 365 * 24 * time.Hour},
		"maximum below":         {AbsoluteLifetime: time.Hour, MaxLifetime: time.Minute},
		"negative total":        {MaxTotal: -1},
		"negative rate":         {NewPerAddress: -1},
		"endless rate":          {NewPerAddress: 1 << 30},
		"negative sweep":        {SweepInterval: -1},
		"negative touch":        {TouchInterval: -1},
		"touch over idle":       {IdleTimeout: time.Second, TouchInterval: time.Minute},
		"touch over active":     {ActiveWindow: time.Second, TouchInterval: time.Minute},
		"negative regeneration": {RegenerateInterval: -1},
		"negative grace":        {RegenerateGrace: -1},
		"grace over interval":   {RegenerateInterval: time.Second},
		"lax about principals":  {Binding: session.Binding{Principal: session.Note}},
		"unknown answer":        {Binding: session.Binding{Client: 3}},
		"unknown address":       {Binding: session.Binding{Address: -1}},
		"negative prefix":       {Binding: session.Binding{IPv4Bits: -1}},
		"long prefix":           {Binding: session.Binding{IPv6Bits: 129}},
	} {
		if err := p.Check(); !errors.Is(err, session.ErrPolicy) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := session.NewManager(nil, session.Options{Policy: p}); !errors.Is(err, session.ErrPolicy) {
			t.Errorf("%s: manager: got %v", name, err)
		}
	}
	for name, p := range map[string]session.Policy{
		"guide's expiry test": {AbsoluteLifetime: 100 * time.Millisecond},
		"no limit":            {MaxPerUser: -1},
		"single session":      {MaxPerUser: 1},
		"least":               {IdleTimeout: time.Millisecond, AbsoluteLifetime: time.Millisecond, ActiveWindow: time.Millisecond},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewManagerChecksNames(t *testing.T) {
	for _, o := range []session.Options{{Namespace: "A b"}, {Kind: "-x"}} {
		if _, err := session.NewManager(nil, o); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestStrictKeepsAssuranceLevel3(t *testing.T) {
	p := session.Strict()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, p)
	id := b.create("ann").ID
	b.clock.Advance(14 * time.Second) // not written down yet
	b.access(id, "ann")
	used := b.clock.Now()
	b.clock.Advance(14*time.Minute + 30*time.Second)
	b.get(id)
	b.clock.Advance(30*time.Second - 14*time.Second)
	if _, err := b.Get(t.Context(), id); err != session.ErrNotFound {
		t.Errorf("%v after the last use: %v", b.clock.Now().Sub(used), err)
	}
	id = b.create("ann").ID
	for range 12*60 - 1 {
		b.clock.Advance(time.Minute)
		b.access(id, "ann")
	}
	b.clock.Advance(time.Minute)
	if _, err := b.Get(t.Context(), id); err != session.ErrNotFound {
		t.Errorf("after 12 hours: %v", err)
	}
}
