package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/bits"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/semaphore"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// OpenURL opens the store that a URL names; see [ParseURL].
func OpenURL(ctx context.Context, url string) (*Store, error) {
	opts, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	return Open(ctx, opts)
}

// Open connects to Redis 7.0 or newer, or to what speaks like it. It fails if
// no server can be reached, if one is too old, and if one may evict keys that
// have no time to live (maxmemory-policy allkeys-…): a store that forgets is
// none.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.defaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	if err := opts.checkServers(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(opts.client())
	if err != nil {
		return nil, fmt.Errorf("connect to redis at %s: %w: %w", strings.Join(opts.Addresses, ", "), state.ErrUnavailable, err)
	}
	s, err := open(ctx, client, opts)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// New is Open with a client of the caller's, who closes it after the store. Of
// the options those that say how to connect do not count, but for Pool.Max.
//
// The client must not have a ConnLifetime: it repeats what was under way when
// a connection reaches it, writes too.
func New(ctx context.Context, client rueidis.Client, opts Options) (*Store, error) {
	opts = opts.defaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	return open(ctx, client, opts)
}

func open(ctx context.Context, client rueidis.Client, opts Options) (*Store, error) {
	s := &Store{
		client:  client,
		opts:    opts,
		mode:    client.Mode(),
		scripts: newScripts(opts.nowScript()),
		lent:    semaphore.NewWeighted(int64(opts.Pool.Max)),
		hubs:    make(map[string]*hub),
	}
	if opts.Mode == Standalone && s.mode != rueidis.ClientModeStandalone || opts.Mode == Cluster && s.mode != rueidis.ClientModeCluster {
		return nil, invalid("mode", fmt.Sprintf("the server is %s; leave mode out or say so", s.mode))
	}
	durability, err := s.inspect(ctx)
	if err != nil {
		return nil, err
	}
	clockError := opts.ClockError
	if clockError == 0 {
		clockError = state.Precision
		if s.mode != rueidis.ClientModeStandalone {
			clockError = 100 * time.Millisecond
		}
	}
	s.guarantees = state.Guarantees{
		ClockError: clockError,
		Durability: durability,
		// What all writes have: that of the weaker.
		Replication: opts.weakest(),
		Shared:      true,
		ExactTotal:  s.mode != rueidis.ClientModeCluster,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.openLanes()
	s.warm()
	return s, nil
}

// client returns the options of the client.
func (o *Options) client() rueidis.ClientOption {
	dialer := net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: time.Second}
	c := rueidis.ClientOption{
		InitAddress:         o.Addresses,
		SelectDB:            o.Database,
		Username:            o.Username,
		Password:            o.Password,
		ClientName:          o.ClientName,
		TLSConfig:           o.TLS,
		Dialer:              dialer,
		ConnWriteTimeout:    o.Timeout,
		PipelineMultiplex:   o.multiplex(),
		BlockingPoolSize:    o.Pool.Max,
		BlockingPoolMinSize: o.Pool.MinIdle,
		BlockingPoolCleanup: o.Pool.IdleTimeout,
		ForceSingleClient:   o.Mode == Standalone,
		// What was sent is never sent again by somebody who does not know
		// what it is. Redirections by a cluster are followed all the same:
		// the server that redirects has done nothing.
		DisableRetry: true,
		DisableCache: true,
		// So that the end of a connection is noticed when it happens, not by
		// the next write; and so that a caller who gives up does not cost a
		// connection.
		AlwaysPipelining: true,
	}
	if o.Master != "" {
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: o.Master, Username: o.SentinelUsername, Password: o.SentinelPassword,
			Dialer: dialer, TLSConfig: o.TLS, ClientName: o.ClientName,
			// In case a switch is not heard of.
			TopologyRefreshInterval: 2 * time.Second,
		}
	}
	if o.Dial != nil {
		c.DialCtxFn = o.dial
	}
	return c
}

// multiplex is the number of pipelines as the client has it: the exponent of
// two, where zero leaves it to the client and less than that is one.
func (o *Options) multiplex() int {
	if o.Pipelines == 1 {
		return -1
	}
	return bits.Len(uint(o.Pipelines) >> 1)
}

func (o *Options) dial(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
	conn, err := o.Dial(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	if o.TLS == nil {
		return conn, nil
	}
	secure := tls.Client(conn, o.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return secure, nil
}

// inspect looks at each server, loads the scripts there, and returns the least
// durability of them.
func (s *Store) inspect(ctx context.Context) (state.Durability, error) {
	least := state.Synced
	for address, node := range s.client.Nodes() {
		text, err := node.Do(ctx, node.B().Info().Build()).ToString()
		if err != nil {
			return 0, fmt.Errorf("ask redis at %s for INFO: %w", address, readError(err))
		}
		info := parseInfo(text)
		if info["role"] == "slave" {
			continue
		}
		if err := checkServer(address, info); err != nil {
			return 0, err
		}
		least = min(least, durabilityOf(ctx, node, info))
		for _, sc := range s.scripts.all() {
			if err := node.Do(ctx, node.B().ScriptLoad().Script(sc.source).Build()).Error(); err != nil {
				return 0, fmt.Errorf("load scripts into redis at %s: %w", address, readError(err))
			}
		}
	}
	return least, nil
}

// parseInfo reads an answer to INFO.
func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[name] = value
		}
	}
	return info
}

func checkServer(address string, info map[string]string) error {
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		return fmt.Errorf("redis at %s has version %s; at least 7.0 is needed", address, version)
	}
	if policy := info["maxmemory_policy"]; info["maxmemory"] != "0" && strings.HasPrefix(policy, "allkeys-") {
		return fmt.Errorf("redis at %s may evict any key (maxmemory-policy %s): set it to noeviction", address, policy)
	}
	return nil
}

func durabilityOf(ctx context.Context, node rueidis.Client, info map[string]string) state.Durability {
	if info["aof_enabled"] != "1" {
		return state.Volatile
	}
	// Many providers do not allow CONFIG; then the default is assumed.
	config, err := node.Do(ctx, node.B().ConfigGet().Parameter("appendfsync").Build()).AsStrMap()
	if err == nil && config["appendfsync"] == "always" {
		return state.Synced
	}
	return state.Buffered
}
