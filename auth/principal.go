package auth

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Principal is who an issuer says somebody is. Equal subjects of two issuers
// are two people, so a principal is always both.
type Principal struct{ Issuer, Subject string }

// String returns the principal as sessions name their user: issuer, a blank,
// subject. An issuer has no blank, so no two principals have the same text; nor
// has the user of a tokens file, so neither can take the other's place.
func (p Principal) String() string { return p.Issuer + " " + p.Subject }

// ParsePrincipal is the reverse of [Principal.String].
func ParsePrincipal(text string) (Principal, error) {
	issuer, subject, _ := strings.Cut(text, " ")
	p := Principal{Issuer: issuer, Subject: subject}
	return p, p.check()
}

func (p Principal) check() error {
	if err := checkIssuer(p.Issuer); err != nil {
		return err
	}
	switch {
	case p.Subject == "" || !utf8.ValidString(p.Subject) || strings.ContainsFunc(p.Subject, unicode.IsControl):
		return fmt.Errorf("a subject is not empty, and UTF-8 without control characters")
	case len(p.String()) > state.MaxUserBytes:
		return fmt.Errorf("issuer and subject together have more than %d bytes", state.MaxUserBytes)
	}
	return nil
}

func checkIssuer(name string) error {
	odd := func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }
	if name == "" || len(name) > state.MaxUserBytes/2 || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("an issuer is not empty, has at most %d bytes, and no blanks or control characters", state.MaxUserBytes/2)
	}
	return nil
}
