package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/coatcheck-mcp/coatcheck/session"
)

func parsePosture(t *testing.T, args ...string) *postureFlags {
	t.Helper()
	var f postureFlags
	parser, err := kong.New(&f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := f.checkPolicy(); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestProfilesAreOverriddenByFlags(t *testing.T) {
	for args, want := range map[string]struct{ overall, unused time.Duration }{
		"":                                       {24 * time.Hour, 2*time.Hour + time.Minute},
		"--profile=strict":                       {12 * time.Hour, 15 * time.Minute},
		"--profile=strict --session-duration=1h": {time.Hour, 15 * time.Minute},
		"--profile=strict --idle-timeout=10m":    {12 * time.Hour, 11 * time.Minute},
		"--idle-timeout=10m --session-duration=1h": {time.Hour, 11 * time.Minute},
	} {
		p := parsePosture(t, strings.Fields(args)...).policy().Defaults()
		if p.AbsoluteLifetime != want.overall || p.IdleTimeout+p.TouchInterval != want.unused {
			t.Errorf("%s: %v and %v", args, p.AbsoluteLifetime, p.IdleTimeout+p.TouchInterval)
		}
	}
}

func TestBindingFlags(t *testing.T) {
	for args, want := range map[string]session.Binding{
		"":                                    {},
		"--bind-address=exact --bind-agent":   {Address: session.SameAddress, UserAgent: true},
		"--bind-address=network":              {Address: session.SameNetwork},
		"--bind-address=network/16/48":        {Address: session.SameNetwork, IPv4Bits: 16, IPv6Bits: 48},
		"--on-mismatch=end":                   {Principal: session.End, Client: session.End},
		"--on-mismatch=note":                  {Client: session.Note},
		"--profile=strict":                    {Principal: session.End},
		"--profile=strict --on-mismatch=note": {Client: session.Note},
	} {
		if got := parsePosture(t, strings.Fields(args)...).policy().Binding; got != want {
			t.Errorf("%s: got %+v", args, got)
		}
	}
}

func TestShortfallsNameTheRequirementAndTheRemedy(t *testing.T) {
	const good = "--auth=jwt:keys --auth-issuer=https://id.example --auth-audience=https://mcp.example/mcp --audit=audit.log "
	for name, c := range map[string]struct {
		args      string
		encrypted bool
		want      []string
	}{
		"as it comes":     {"", false, []string{"7.1.1, 7.3.1", "7.2.1", "16.3.1, 16.3.2", "14.2.4"}},
		"mended":          {good + "--idle-timeout=59m", true, nil},
		"strict":          {good + "--profile=strict", true, nil},
		"strict, but not": {good + "--profile=strict --session-duration=24h --idle-timeout=15m", true, []string{"7.1.1, 7.3.1", "7.1.1, 7.3.2"}},
		"long sessions":   {good + "--session-duration=48h --idle-timeout=59m", true, []string{"7.1.1, 7.3.2"}},
		"no limits":       {good + "--idle-timeout=59m --max-sessions-per-user=0 --max-new-sessions=0", true, []string{"7.1.2", "2.4.1"}},
		"static tokens":   {"--auth=tokens:x --audit=audit.log --idle-timeout=59m", true, []string{"7.2.2"}},
		"no resource":     {"--auth=jwt:keys --auth-audience=mcp --audit=- --idle-timeout=59m", true, []string{"7.6.1"}},
	} {
		var got []string
		for _, s := range parsePosture(t, strings.Fields(c.args)...).shortfalls(c.encrypted) {
			got = append(got, s.requirement)
			if s.what == "" || !strings.HasPrefix(s.hint, "write ") {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// What a hint says to write mends what it is said of.
func TestHintsMend(t *testing.T) {
	for _, profile := range []string{"default", "strict"} {
		args := []string{"--profile=" + profile, "--idle-timeout=10h", "--session-duration=100h"}
		for _, s := range parsePosture(t, args...).shortfalls(true) {
			for _, flag := range []string{"--idle-timeout", "--session-duration"} {
				if _, value, ok := strings.Cut(s.hint, flag+" "); ok {
					args = append(args, flag+"="+strings.TrimSuffix(strings.Fields(value)[0], ","))
				}
			}
		}
		if len(args) != 5 {
			t.Fatalf("%s: hints gave %q", profile, args)
		}
		for _, s := range parsePosture(t, args...).shortfalls(true) {
			if strings.HasPrefix(s.requirement, "7.1.1") {
				t.Errorf("%s, with %q: %+v", profile, args, s)
			}
		}
	}
}
