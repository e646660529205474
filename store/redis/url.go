package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// ParseURL reads Options from a URL:
//
//	redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?PARAMETER=VALUE&…]
//
// The scheme rediss is the same over TLS. The port is 6379 if none is given,
// 26379 for sentinels. Parameters:
//
//	addr              HOST:PORT of a further cluster node or sentinel; may be repeated
//	mode              standalone, sentinel or cluster; found out if left out
//	master            the master set's name: makes the hosts sentinels
//	sentinel_username, sentinel_password
//	                  for the sentinels; USER and PASSWORD are the servers'
//	prefix            of all keys and channels (coatcheck:)
//	pool_max          most connections beside the pipelined ones (32)
//	pool_min_idle     how many of them are kept open (0)
//	pool_idle_timeout after how long the others are closed (5m)
//	pipelines         pipelined connections to each server: 1, 2, 4, 8 or 16
//	connect_timeout   (3s)
//	timeout           how long a server may be silent (3s)
//	replication       none, leader, quorum (where there are replicas) or all:
//	                  which of them have a write when it is acknowledged
//	deletes, writes   the same for deletes and new secrets, and for all other
//	                  writes, where they are to differ
//	replicas          how many replicas each primary is meant to have (as many
//	                  as are connected)
//	wait_timeout      bound of a wait for replicas (1s)
//	clock_error       how far the servers' clocks may be apart
//	client_name       shown by CLIENT LIST (coatcheck)
//	ca, cert, key     PEM files for TLS: of the authority (the system's), and
//	                  of the client's certificate (none)
//	server_name       to verify instead of HOST
//
// Durations are in the form of [time.ParseDuration]. A parameter that is not
// known is an error; errors do not repeat the password.
func ParseURL(text string) (Options, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of package url repeats the text, password and all.
		return Options{}, invalid("url", "is not a URL; write redis://host:6379")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return Options{}, invalid("url", "its scheme is neither redis nor rediss; write redis://host:6379")
	}
	p := params{q: u.Query()}
	o := Options{
		Mode:             Mode(p.text("mode")),
		Master:           p.text("master"),
		SentinelUsername: p.text("sentinel_username"),
		SentinelPassword: p.text("sentinel_password"),
		Prefix:           p.text("prefix"),
		Pool: Pool{
			Max:         p.number("pool_max"),
			MinIdle:     p.number("pool_min_idle"),
			IdleTimeout: p.duration("pool_idle_timeout"),
		},
		Pipelines:      p.number("pipelines"),
		ConnectTimeout: p.duration("connect_timeout"),
		Timeout:        p.duration("timeout"),
		Replication:    state.Replication(p.text("replication")),
		Deletes:        state.Replication(p.text("deletes")),
		Writes:         state.Replication(p.text("writes")),
		Replicas:       p.number("replicas"),
		WaitTimeout:    p.duration("wait_timeout"),
		ClockError:     p.duration("clock_error"),
		ClientName:     p.text("client_name"),
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.Database, err = strconv.Atoi(db); err != nil || o.Database < 0 {
			return Options{}, invalid("url", "its path is not the number of a database")
		}
	}
	o.Addresses = p.addresses(u.Host, o.Master != "" || o.Mode == Sentinel)
	o.TLS = p.tls(u.Scheme == "rediss", u.Hostname())
	if err := p.done(); err != nil {
		return Options{}, err
	}
	checked := o.defaults()
	if err := errors.Join(checked.check(), checked.checkServers()); err != nil {
		return Options{}, err
	}
	return o, nil
}

// params takes parameters out of a query and remembers the first error.
type params struct {
	q   url.Values
	err error
}

func (p *params) fail(name, why string) {
	if p.err == nil {
		p.err = invalid("url parameter "+name, why)
	}
}

func (p *params) text(name string) string {
	values := p.q[name]
	delete(p.q, name)
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1:
		p.fail(name, "given twice")
	case values[0] == "":
		p.fail(name, "empty")
	}
	return values[0]
}

func (p *params) number(name string) int {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		p.fail(name, "is not a number")
	}
	return n
}

func (p *params) duration(name string) time.Duration {
	s := p.text(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		p.fail(name, "is not a positive duration, such as 500ms or 5m")
	}
	return d
}

func (p *params) addresses(host string, sentinel bool) []string {
	port := "6379"
	if sentinel {
		port = "26379"
	}
	var all []string
	for _, a := range append([]string{host}, p.q["addr"]...) {
		if a == "" {
			p.fail("addr", "no host; write redis://host:6379")
			continue
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), port)
		}
		all = append(all, a)
	}
	delete(p.q, "addr")
	return all
}

func (p *params) tls(on bool, host string) *tls.Config {
	ca, cert, key, name := p.text("ca"), p.text("cert"), p.text("key"), p.text("server_name")
	if !on {
		if ca+cert+key+name != "" {
			p.fail("ca, cert, key or server_name", "is for TLS; use the scheme rediss")
		}
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if name != "" {
		c.ServerName = name
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		c.RootCAs = x509.NewCertPool()
		if err != nil || !c.RootCAs.AppendCertsFromPEM(pem) {
			p.fail("ca", "is not a readable PEM file of certificates")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			p.fail("cert and key", "are not a readable pair of PEM files")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// done returns the first error, or that of a parameter that nobody took.
func (p *params) done() error {
	if p.err != nil {
		return p.err
	}
	for name := range p.q {
		return invalid("url parameter", fmt.Sprintf("%q is not known; see the documentation of ParseURL", name))
	}
	return nil
}
