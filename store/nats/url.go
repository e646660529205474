package nats

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/urlparam"
)

// A Target is what a URL says: where the servers are and how to open the store.
type Target struct {
	Servers            []string // as "host:port"
	Username, Password string
	Token              string
	TLS                *tls.Config // nil: none
	Options            Options
}

// ParseURL reads a Target from a URL:
//
//	nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST…][?PARAMETER=VALUE&…]
//
// The scheme tls is the same over TLS. The port is 4222 if none is given.
// Parameters:
//
//	name         begins the names of streams (coatcheck)
//	streams      how many share the records (8); fixed once they are there
//	replicas     on how many servers each is kept (3 in a cluster, else 1)
//	replication  none, leader, quorum or all: refused if the replicas do not give it
//	mirrors      with leader: on how many more servers each is copied (2)
//	sync         always: declares that the server syncs each write
//	timeout      of an operation (5s)
//	clock_error  how far the servers' clocks may be apart (100ms)
//	unswept      how long what is due stays if nobody sweeps (720h)
//	ca           PEM file of the authority (the system's)
//	cert, key    PEM files of the client's certificate (none)
//
// Durations are in the form of [time.ParseDuration]. A parameter that is not
// known is an error; errors do not repeat the password.
func ParseURL(text string) (Target, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "nats" && scheme != "tls" {
		return Target{}, invalid("url", "its scheme is neither nats nor tls; write nats://HOST:4222")
	}
	rest, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Target{}, invalid("url", "its parameters are not NAME=VALUE&…")
	}
	t := Target{}
	// An at sign in a password has to be written as %40.
	if login, hosts, found := strings.Cut(rest, "@"); found {
		rest = hosts
		if err := t.login(login); err != nil {
			return Target{}, err
		}
	}
	p := urlparam.New(values, invalid)
	t.Servers = servers(p, strings.TrimSuffix(rest, "/"))
	t.Options = Options{
		Name: p.Text("name"), Streams: p.Number("streams", 1), Replicas: p.Number("replicas", 1), Mirrors: p.Number("mirrors", 1),
		Level: state.Replication(p.Text("replication")), Timeout: p.Duration("timeout"),
		ClockError: p.Duration("clock_error"), Unswept: p.Duration("unswept"),
	}
	switch p.Text("sync") {
	case "":
	case "always":
		t.Options.Durability = state.Synced
	default:
		p.Fail("sync", "can only be always")
	}
	t.TLS = p.TLS(scheme == "tls", "tls")
	if err := p.Done(); err != nil {
		return Target{}, err
	}
	checked := t.Options.defaults()
	return t, checked.check()
}

func (t *Target) login(text string) error {
	user, password, found := strings.Cut(text, ":")
	user, err := url.PathUnescape(user)
	password, err2 := url.PathUnescape(password)
	if err != nil || err2 != nil || user == "" {
		return invalid("url", "its user or password is not written with %XX for special characters")
	}
	if !found {
		t.Token = user
		return nil
	}
	t.Username, t.Password = user, password
	return nil
}

// OpenURL connects to the servers that a URL names and opens the store; see
// [ParseURL].
func OpenURL(ctx context.Context, text string) (*Store, error) {
	t, err := ParseURL(text)
	if err != nil {
		return nil, err
	}
	return t.Open(ctx)
}

// Open connects and opens the store, which closes the connection.
func (t Target) Open(ctx context.Context) (*Store, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	s, err := Open(ctx, conn, t.Options)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// Promote connects and promotes mirrors; see [Promote].
func (t Target) Promote(ctx context.Context, dry bool) ([]Promotion, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return Promote(ctx, conn, t.Options, dry)
}

func (t Target) connect(ctx context.Context) (*natsgo.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts := []natsgo.Option{
		natsgo.Name("coatcheck"), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(100 * time.Millisecond),
		// What cannot be sent now is not sent later.
		natsgo.ReconnectBufSize(-1),
		// A server that is silent is given up.
		natsgo.PingInterval(5 * time.Second), natsgo.MaxPingsOutstanding(2), natsgo.Timeout(3 * time.Second),
	}
	if t.Username != "" {
		opts = append(opts, natsgo.UserInfo(t.Username, t.Password))
	}
	if t.Token != "" {
		opts = append(opts, natsgo.Token(t.Token))
	}
	if t.TLS != nil {
		opts = append(opts, natsgo.Secure(t.TLS))
	}
	urls := make([]string, len(t.Servers))
	for i, server := range t.Servers {
		urls[i] = "nats://" + server
	}
	conn, err := natsgo.Connect(strings.Join(urls, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w: %w", strings.Join(t.Servers, ", "), state.ErrUnavailable, err)
	}
	return conn, nil
}

// servers are the hosts of a URL, each with its port.
func servers(p *urlparam.Params, hosts string) []string {
	var all []string
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" || strings.ContainsAny(host, "/@ ") {
			p.Fail("host", "none, or more than a host; write nats://HOST:4222, several as HOST1:4222,HOST2:4222")
			continue
		}
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), "4222"
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || name == "" {
			p.Fail("host", "its port is not a number from 1 to 65535")
		}
		all = append(all, net.JoinHostPort(name, port))
	}
	return all
}
