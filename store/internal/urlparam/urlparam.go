// Package urlparam reads the parameters of a store's URL, each by its name, and
// refuses those that nobody knows.
package urlparam

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Params takes parameters out of a query and remembers the first error. It is
// for one goroutine.
type Params struct {
	query   url.Values
	invalid func(what, why string) error
	err     error
}

// New takes the parameters of a query; invalid makes the errors.
func New(query url.Values, invalid func(what, why string) error) *Params {
	return &Params{query: query, invalid: invalid}
}

// Fail says why a parameter is wrong. Only the first such error counts.
func (p *Params) Fail(name, why string) {
	if p.err == nil {
		p.err = p.invalid("url parameter "+name, why)
	}
}

// Text returns a parameter that may be there once; empty if it is not.
func (p *Params) Text(name string) string {
	values := p.Texts(name)
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1:
		p.Fail(name, "given twice")
	case values[0] == "":
		p.Fail(name, "empty")
	}
	return values[0]
}

// Texts returns a parameter that may be repeated.
func (p *Params) Texts(name string) []string {
	values := p.query[name]
	delete(p.query, name)
	return values
}

// Number returns a number that is not below least; zero if it is not there.
func (p *Params) Number(name string, least int) int {
	s := p.Text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least {
		p.Fail(name, fmt.Sprintf("is not a number from %d on", least))
	}
	return n
}

// Duration returns a positive duration; zero if it is not there.
func (p *Params) Duration(name string) time.Duration {
	s := p.Text(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		p.Fail(name, "is not a positive duration, such as 500ms or 5m")
	}
	return d
}

// TLS reads the files that ca, cert and key name. Nil if it is not on: then none
// of them may be there. scheme is the URL's scheme that has it on.
func (p *Params) TLS(on bool, scheme string) *tls.Config {
	ca, cert, key := p.Text("ca"), p.Text("cert"), p.Text("key")
	if !on {
		if ca+cert+key != "" {
			p.Fail("ca, cert or key", "is for TLS; use the scheme "+scheme)
		}
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		c.RootCAs = x509.NewCertPool()
		if err != nil || !c.RootCAs.AppendCertsFromPEM(pem) {
			p.Fail("ca", "is not a readable PEM file of certificates")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			p.Fail("cert and key", "are not a readable pair of PEM files")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// Done returns the first error, or that of a parameter that nobody took.
func (p *Params) Done() error {
	if p.err != nil {
		return p.err
	}
	for name := range p.query {
		return p.invalid("url parameter", fmt.Sprintf("%q is not known; see the documentation of ParseURL", name))
	}
	return nil
}
