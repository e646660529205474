package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options configures a [Store]. The zero value is ready to use. What is set
// here wins over what the URL says.
type Options struct {
	// Schema is where the tables are; it is created if need be. Empty: what
	// the URL's parameter schema says, or "public".
	Schema string

	// MaxConns bounds the connections of the pool. Zero: pool_max_conns of
	// the URL, or the greater of 4 and the number of CPUs. The watches of the
	// store share one more connection, outside of the pool.
	MaxConns int
	// MinIdleConns is how many connections are kept ready. Zero:
	// pool_min_idle_conns of the URL, or none.
	MinIdleConns int
	// ConnectTimeout bounds the opening of a connection. Zero:
	// connect_timeout of the URL (in seconds), or 5 seconds.
	ConnectTimeout time.Duration
	// IdleTimeout is after how long an idle connection is closed. Zero:
	// pool_max_conn_idle_time of the URL, or 30 minutes.
	IdleTimeout time.Duration

	// Timeout bounds each round trip, so that callers without a deadline and
	// a connection that hangs come to an end. Zero: 15 seconds.
	Timeout time.Duration
	// ClockError is what [state.Guarantees] says of the server's clock: how
	// far it may be from true elapsed time. Zero: 50 ms, which holds for a
	// clock that is slewed by NTP, not stepped.
	ClockError time.Duration
	// SynchronousCommit is the setting of that name for the pool's
	// connections: "off", "local", "remote_write", "on" or "remote_apply".
	// Empty: the server's. It is not applied to a pool of your own.
	SynchronousCommit string
	// Standbys refuses to open the store unless each commit waits for at
	// least so many synchronous standbys: a server whose
	// synchronous_standby_names is empty would acknowledge without any.
	Standbys int
	// Replication is when a write is acknowledged: by [state.ReplicateNone] and
	// [state.ReplicateLeader] when the primary has it on disk, by
	// [state.ReplicateQuorum] when so many synchronous standbys have it, too,
	// that with the primary they are a majority, by [state.ReplicateAll] when
	// all have and show it. The last two are refused unless the server's
	// synchronous_standby_names ask for as many; that is looked at again while
	// the store is open, and writes are [state.ErrUnavailable] when it does
	// not hold any more. Empty: what the URL's parameter replication says, or
	// what the server is set to, quorum if it has enough synchronous standbys,
	// and whatever another one is set to after a failover. It sets
	// SynchronousCommit, unless that is given; with a pool of your own, its
	// connections have to be set so.
	Replication state.Replication
	// Logger hears what no caller can be told. Nil: nobody does.
	Logger *slog.Logger
}

// poolConfig returns how to connect, and fills Schema.
func (o *Options) poolConfig(rawURL string) (*pgxpool.Config, error) {
	rawURL, err := o.takeURL(rawURL)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		return nil, errors.New(redact(err.Error()))
	}
	if o.MaxConns > 0 {
		cfg.MaxConns = int32(o.MaxConns)
	}
	if o.MinIdleConns > 0 {
		cfg.MinIdleConns = int32(o.MinIdleConns)
	}
	if cfg.MinIdleConns > cfg.MaxConns {
		return nil, fmt.Errorf("%d idle connections are more than the %d that there may be: lower pool_min_idle_conns",
			cfg.MinIdleConns, cfg.MaxConns)
	}
	if o.ConnectTimeout > 0 {
		cfg.ConnConfig.ConnectTimeout = o.ConnectTimeout
	}
	if o.ConnectTimeout <= 0 && !strings.Contains(rawURL, "connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if o.IdleTimeout > 0 {
		cfg.MaxConnIdleTime = o.IdleTimeout
	}
	// Idle connections are closed when the pool looks at them.
	cfg.HealthCheckPeriod = min(cfg.HealthCheckPeriod, max(cfg.MaxConnIdleTime/2, 100*time.Millisecond))
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "coatcheck"
	}
	params["default_transaction_isolation"] = "read committed"
	if o.SynchronousCommit != "" {
		params["synchronous_commit"] = o.SynchronousCommit
	} else if set := commitSetting(o.Replication); set != "" && params["synchronous_commit"] == "" {
		params["synchronous_commit"] = set
	}
	cfg.ConnConfig.OnNotice = note
	return cfg, nil
}

// redact keeps the reason of a parse error, which may repeat the URL.
func redact(message string) string {
	if i := strings.LastIndex(message, "`: "); i >= 0 {
		return message[i+3:]
	}
	return "the URL cannot be understood"
}

func (o Options) withDefaults() Options {
	if o.Schema == "" {
		o.Schema = "public"
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.ClockError <= 0 {
		o.ClockError = 50 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
