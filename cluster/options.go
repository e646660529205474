package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Defaults and bounds of [Options].
const (
	DefaultTimeout     = 3 * time.Second
	DefaultMaxForwards = 16384

	// MinTimeout and MaxTimeout bound [Options.Timeout].
	MinTimeout = 30 * time.Millisecond
	MaxTimeout = 5 * time.Minute

	maxAdvertise = 1024
	maxVersion   = 128
)

// Options of a [Node].
type Options struct {
	// Namespace is that of the sessions; replicas in it find one another.
	// Required.
	Namespace string
	// Advertise is the URL under which the other replicas reach this one:
	// http or https, host and port, nothing else. It must name this replica
	// alone, not a balancer. Required.
	Advertise string
	// Version of the program, for people.
	Version string
	// Timeout is how long a heartbeat may be missing until its node has
	// lapsed, and so about how long clients wait when a replica is killed.
	// It must be longer than the store's longest pauses, elections included.
	// All replicas should have the same. Zero: 3 seconds.
	Timeout time.Duration
	// MaxForwards bounds how many requests are forwarded at once, open
	// streams included. Zero: 16384.
	MaxForwards int

	// TLS is what to connect to members with that advertise https: their
	// authorities and, for mutual TLS, this replica's certificate. Nil: the
	// system's authorities.
	TLS *tls.Config
	// Mutual accepts forwarded requests and messages only over TLS with a
	// client certificate that the server has verified. The server must ask
	// for one: tls.VerifyClientCertIfGiven, with the authority of the
	// replicas as ClientCAs.
	Mutual bool

	// Logger is told of members that come, go and lapse. Nil: nothing is.
	Logger *slog.Logger

	// dial replaces the network, in tests.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o Options) resolve() (Options, error) {
	if err := state.CheckName("namespace", o.Namespace); err != nil {
		return o, fmt.Errorf("cluster options: %w", err)
	}
	if err := checkAdvertise(o.Advertise); err != nil {
		return o, fmt.Errorf("cluster options: advertise: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxForwards == 0 {
		o.MaxForwards = DefaultMaxForwards
	}
	switch {
	case o.Timeout < MinTimeout || o.Timeout > MaxTimeout:
		return o, fmt.Errorf("cluster options: the timeout must be from %v to %v", MinTimeout, MaxTimeout)
	case o.MaxForwards < 0:
		return o, errors.New("cluster options: MaxForwards must not be negative")
	case len(o.Version) > maxVersion:
		return o, fmt.Errorf("cluster options: the version must have at most %d bytes", maxVersion)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// checkAdvertise says what is wrong with a URL, without repeating it: it may
// hold a password by mistake.
func checkAdvertise(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "" || len(text) > maxAdvertise:
		return errors.New("give the URL of this replica, as in http://10.0.0.7:8080")
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return errors.New("must be an http or https URL with a host, as in http://10.0.0.7:8080")
	case u.User != nil:
		return errors.New("must have no user or password")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return errors.New("must have no path or query: the path of each request is used")
	}
	return nil
}

// beat is the time from one heartbeat to the next.
func (o *Options) beat() time.Duration { return o.Timeout / 3 }

// confirmed is how long an acknowledged heartbeat lets its node serve: shorter
// than the timeout by what clocks and requests under way may need.
func (o *Options) confirmed() time.Duration { return o.Timeout - o.Timeout/6 }
