package main

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// A shortfall is where a configuration does less than a requirement of OWASP
// ASVS 5.0 asks. docs/security.md has all rows, met or not.
type shortfall struct{ requirement, what, hint string }

// Times of NIST SP 800-63B-4, to which 7.1.1 refers.
const (
	aal2Overall, aal2Idle = 24 * time.Hour, time.Hour
	aal3Overall, aal3Idle = 12 * time.Hour, 15 * time.Minute
)

// postureFlags are what of a server's configuration the requirements speak of.
type postureFlags struct {
	policyFlags `embed:""`
	authFlags   `embed:""`
	auditFlags  `embed:""`
}

// shortfalls compares the configuration with the level that the profile stands
// for.
func (f *postureFlags) shortfalls(encrypted bool) []shortfall {
	var found []shortfall
	short := func(when bool, requirement, what, hint string) {
		if when {
			found = append(found, shortfall{requirement, what, hint})
		}
	}
	p := f.policy().Defaults()
	level, overall, idle := "2", aal2Overall, aal2Idle
	if f.Profile == "strict" {
		level, overall, idle = "3", aal3Overall, aal3Idle
	}
	unused := p.IdleTimeout + p.TouchInterval
	short(unused > idle, "7.1.1, 7.3.1",
		"sessions last "+unused.String()+" without use; NIST gives assurance level "+level+" "+idle.String(),
		"write --idle-timeout "+(idle-session.Policy{IdleTimeout: idle}.Defaults().TouchInterval).String()+", or write down why yours is appropriate")
	short(p.AbsoluteLifetime > overall, "7.1.1, 7.3.2",
		"sessions last "+p.AbsoluteLifetime.String()+" in all; NIST gives assurance level "+level+" "+overall.String(),
		"write --session-duration "+overall.String()+", or write down why yours is appropriate")
	short(p.MaxPerUser <= 0, "7.1.2",
		"a user may have any number of sessions", "write --max-sessions-per-user 5, or write down that this is meant")
	short(f.Auth.none(), "7.2.1",
		"nobody is verified: sessions belong to whoever has their id", "write --auth jwt:JWKS or --auth tokens:FILE")
	short(f.Auth.tokens != "", "7.2.2",
		"the tokens of a file are static: each is good until the file changes", "write --auth jwt:JWKS, with an authorization server that gives short-lived tokens")
	short(f.Auth.jwks != "" && f.resourceURL() == "", "7.6.1",
		"clients are not told with whom to re-authenticate", "write --auth-resource URL")
	short(f.Audit == "", "16.3.1, 16.3.2",
		"nobody writes down who signed in, who was refused and who ended what", "write --audit FILE")
	short(p.NewPerAddress == 0 && p.MaxTotal == 0, "2.4.1",
		"any number of sessions may be begun", "write --max-new-sessions 100, or --max-sessions")
	short(!encrypted, "14.2.4",
		"whoever reads the store or a backup sees what clients left, and who they are", "write --encryption-key FILE or --key-ring FILE")
	return found
}

// posture turns the shortfalls into what the doctor reports.
func (f *postureFlags) posture(encrypted bool) []admin.Finding {
	found := f.shortfalls(encrypted)
	if len(found) == 0 {
		return []admin.Finding{admin.OK("meets what ASVS 5.0 asks of it under --profile %s; docs/security.md has the rest", f.Profile)}
	}
	var out []admin.Finding
	for _, s := range found {
		out = append(out, admin.Warning(s.hint, "ASVS %s: %s", s.requirement, s.what))
	}
	return out
}
