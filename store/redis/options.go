package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What zero Options stand for.
const (
	DefaultPrefix         = "coatcheck:"
	DefaultConnectTimeout = 3 * time.Second
	DefaultTimeout        = 3 * time.Second
	DefaultWaitTimeout    = time.Second
	DefaultPoolMax        = 32
	DefaultPoolIdle       = 5 * time.Minute
)

// Mode says what kind of Redis the addresses belong to.
type Mode string

const (
	// Auto: Cluster if the first server says so, Sentinel if a master is
	// named, else Standalone.
	Auto       Mode = ""
	Standalone Mode = "standalone"
	Sentinel   Mode = "sentinel"
	Cluster    Mode = "cluster"
)

// Options of a Store. The zero value of each field but Addresses is useful.
// [ParseURL] reads them from a URL.
type Options struct {
	// Addresses are "host:port" of the server, of some nodes of the cluster,
	// or of the sentinels.
	Addresses []string
	Mode      Mode
	// Database is the number of the database; a cluster has only 0.
	Database           int
	Username, Password string
	// Master is the name of the master set that the sentinels watch.
	Master                             string
	SentinelUsername, SentinelPassword string
	// TLS is used for every connection, to sentinels too; nil: none.
	TLS *tls.Config

	// Prefix precedes all names of keys and channels. It must not contain
	// braces. Empty: DefaultPrefix.
	Prefix string

	// Pool bounds the connections beside the pipelined ones.
	Pool Pool
	// Pipelines is how many pipelined connections there are to each server: a
	// power of two, 16 at most. Zero: 1 to each node of a cluster, else 1, 2 or
	// 4 by GOMAXPROCS.
	Pipelines int
	// ConnectTimeout bounds the opening of a connection, greeting included.
	// Zero: DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Timeout is how long a server may be silent before a connection is given
	// up, with all that waits for an answer on it. It is looked at about once
	// a second. Callers who want to be faster set a deadline. Zero:
	// DefaultTimeout.
	Timeout time.Duration

	// Replication is which replicas must have a write before it is
	// acknowledged; [state.ReplicateNone] and [state.ReplicateLeader] are the
	// same here. Empty: [state.ReplicateQuorum], which without replicas waits
	// for nobody. A write below its level is [state.ErrBelowLevel].
	Replication state.Replication
	// Deletes is what Delete, and Update with a Rotation, wait for: what takes
	// access away. Empty: Replication.
	Deletes state.Replication
	// Writes is what all other writes wait for. Empty: Replication.
	Writes state.Replication
	// Replicas is how many replicas each primary is meant to have. With it, a
	// write that waits is [state.ErrBelowLevel] as long as too few of them
	// are there. Zero: as many as are connected, and none is none to wait for.
	Replicas int
	// WaitTimeout bounds a wait for replicas. Zero: DefaultWaitTimeout.
	WaitTimeout time.Duration

	// ClockError bounds how far the clocks of the servers are from each other
	// and from true elapsed time while a deadline is pending. It is declared,
	// not enforced. Zero: a millisecond with a single server, else 100.
	ClockError time.Duration
	// ClientName is shown by CLIENT LIST. Empty: "coatcheck".
	ClientName string
	// Dial opens connections; nil: a net.Dialer. TLS is put on top.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// clock replaces the servers' clocks in tests of what takes hours.
	clock     func() time.Time
	clockPart string
}

// nowScript is the part of each script that tells the time.
func (o *Options) nowScript() string {
	if o.clock != nil {
		return o.clockPart
	}
	return part("now")
}

// A Pool bounds the connections that are lent to one user at a time: to
// [Store.WithConn], to writes that wait for replicas, and to watches, one for
// each namespace that is watched. All other operations share the pipelined
// connections, which stay once they have been used.
type Pool struct {
	// Max bounds them; who finds none waits for the deadline of its context,
	// and is then told [state.ErrUnavailable]. Zero: DefaultPoolMax.
	Max int
	// MinIdle are opened at the start, and stay when unused. With a cluster
	// they are opened when first used.
	MinIdle int
	// IdleTimeout is after how long those beyond MinIdle are closed when
	// unused. Zero: DefaultPoolIdle.
	IdleTimeout time.Duration
}

// defaults fills in what zero stands for.
func (o Options) defaults() Options {
	def(&o.Prefix, DefaultPrefix)
	def(&o.ConnectTimeout, DefaultConnectTimeout)
	def(&o.Timeout, DefaultTimeout)
	def(&o.WaitTimeout, DefaultWaitTimeout)
	def(&o.Replication, state.ReplicateQuorum)
	def(&o.Deletes, o.Replication)
	def(&o.Writes, o.Replication)
	def(&o.Pool.Max, DefaultPoolMax)
	def(&o.Pool.IdleTimeout, DefaultPoolIdle)
	def(&o.ClientName, "coatcheck")
	return o
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check refuses what makes no sense, after defaults.
func (o *Options) check() error {
	if strings.ContainsAny(o.Prefix, "{}") {
		return invalid("prefix", "must not contain braces, since those decide where a cluster keeps a key")
	}
	for what, l := range map[string]state.Replication{"replication": o.Replication, "deletes": o.Deletes, "writes": o.Writes} {
		if _, err := state.ParseReplication(string(l)); err != nil {
			return invalid(what, fmt.Sprintf("%q is none of none, leader, quorum and all", string(l)))
		}
	}
	for what, d := range map[string]time.Duration{
		"connect timeout": o.ConnectTimeout, "timeout": o.Timeout, "wait timeout": o.WaitTimeout,
		"pool idle timeout": o.Pool.IdleTimeout, "clock error": o.ClockError,
	} {
		if d < 0 {
			return invalid(what, "negative")
		}
	}
	switch {
	case o.WaitTimeout < time.Millisecond:
		return invalid("wait timeout", "must be at least a millisecond")
	case o.Pool.Max < 1:
		return invalid("pool max", "must be at least 1")
	case o.Pool.MinIdle < 0 || o.Pool.MinIdle > o.Pool.Max:
		return invalid("pool min idle", "must be from 0 to the maximum of the pool")
	case o.Pipelines < 0 || o.Pipelines > 16 || o.Pipelines&(o.Pipelines-1) != 0:
		return invalid("pipelines", "must be 1, 2, 4, 8 or 16")
	case o.Replicas < 0:
		return invalid("replicas", "negative")
	case o.Database < 0:
		return invalid("database", "negative")
	}
	return nil
}

// checkServers refuses addresses that do not go together.
func (o *Options) checkServers() error {
	switch {
	case len(o.Addresses) == 0:
		return invalid("addresses", "none; give host:port of a server")
	case o.Mode == Sentinel && o.Master == "":
		return invalid("master", "Sentinel needs the name of the master set: add ?master=NAME")
	case o.Master != "" && o.Mode != Auto && o.Mode != Sentinel:
		return invalid("master", "only Sentinel has one")
	case o.Mode == Standalone && len(o.Addresses) > 1:
		return invalid("addresses", "a standalone server has one; use mode=cluster or master=NAME for several")
	case o.Mode == Cluster && o.Database != 0:
		return invalid("database", "a cluster has only database 0")
	}
	switch o.Mode {
	case Auto, Standalone, Sentinel, Cluster:
		return nil
	}
	return invalid("mode", fmt.Sprintf("%q is none of standalone, sentinel and cluster", string(o.Mode)))
}

func invalid(what, why string) error {
	return fmt.Errorf("redis store: %w", &state.InvalidError{What: what, Why: why})
}

// weakest is the level that every write reaches.
func (o *Options) weakest() state.Replication {
	for _, l := range []state.Replication{state.ReplicateNone, state.ReplicateLeader, state.ReplicateQuorum} {
		if o.Deletes == l || o.Writes == l {
			return l
		}
	}
	return state.ReplicateAll
}
