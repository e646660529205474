package redis

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/urlparam"
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
	p := urlparam.New(u.Query(), invalid)
	o := Options{
		Mode:             Mode(p.Text("mode")),
		Master:           p.Text("master"),
		SentinelUsername: p.Text("sentinel_username"),
		SentinelPassword: p.Text("sentinel_password"),
		Prefix:           p.Text("prefix"),
		Pool: Pool{
			Max:         p.Number("pool_max", 0),
			MinIdle:     p.Number("pool_min_idle", 0),
			IdleTimeout: p.Duration("pool_idle_timeout"),
		},
		Pipelines:      p.Number("pipelines", 0),
		ConnectTimeout: p.Duration("connect_timeout"),
		Timeout:        p.Duration("timeout"),
		Replication:    state.Replication(p.Text("replication")),
		Deletes:        state.Replication(p.Text("deletes")),
		Writes:         state.Replication(p.Text("writes")),
		Replicas:       p.Number("replicas", 0),
		WaitTimeout:    p.Duration("wait_timeout"),
		ClockError:     p.Duration("clock_error"),
		ClientName:     p.Text("client_name"),
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
	o.Addresses = addresses(p, u.Host, o.Master != "" || o.Mode == Sentinel)
	o.TLS = tlsOf(p, u.Scheme == "rediss", u.Hostname())
	if err := p.Done(); err != nil {
		return Options{}, err
	}
	checked := o.defaults()
	if err := errors.Join(checked.check(), checked.checkServers()); err != nil {
		return Options{}, err
	}
	return o, nil
}

// addresses are the host of the URL and those of addr.
func addresses(p *urlparam.Params, host string, sentinel bool) []string {
	port := "6379"
	if sentinel {
		port = "26379"
	}
	var all []string
	for _, a := range append([]string{host}, p.Texts("addr")...) {
		if a == "" {
			p.Fail("addr", "no host; write redis://host:6379")
			continue
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), port)
		}
		all = append(all, a)
	}
	return all
}

func tlsOf(p *urlparam.Params, on bool, host string) *tls.Config {
	name := p.Text("server_name")
	c := p.TLS(on, "rediss")
	switch {
	case c != nil && name != "":
		c.ServerName = name
	case c != nil:
		c.ServerName = host
	case name != "":
		p.Fail("server_name", "is for TLS; use the scheme rediss")
	}
	return c
}
