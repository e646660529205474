package open

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/store/postgres"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// ErrNotBuilt is the error for what is planned and not there.
var ErrNotBuilt = errors.New("is not available in this build")

// A Scheme says which store a URL is of.
type Scheme string

// Those that there are. rediss is Redis, too, postgresql PostgreSQL, and tls
// NATS.
const (
	Memory     Scheme = "memory"
	SQLite     Scheme = "sqlite"
	Redis      Scheme = "redis"
	PostgreSQL Scheme = "postgres"
	NATS       Scheme = "nats"
)

// DefaultPath is where "sqlite:" without a path is.
const DefaultPath = "coatcheck-data/coatcheck.db"

// forms are what to write instead of what is no store.
const forms = "write memory:, sqlite:PATH, redis://HOST:6379, postgres://USER@HOST:5432/DATABASE or nats://HOST:4222"

// A URL names a store. Use [Parse] to make one. However it is printed, it shows
// only where the store is.
type URL struct {
	scheme Scheme
	path   string // of SQLite's file
	text   string // as it was given, for the drivers
	shown  string // without what may be secret
}

// Parse reads a URL and checks what can be checked without reaching out.
func Parse(text string) (URL, error) {
	scheme, rest, _ := strings.Cut(text, ":")
	switch scheme {
	case "memory":
		if rest == "" {
			return URL{scheme: Memory, text: text, shown: "memory:"}, nil
		}
	case "sqlite":
		return parseSQLite(rest)
	case "redis", "rediss":
		return parseRedis(text)
	case "postgres", "postgresql":
		return parsePostgres(text)
	case "nats", "tls":
		return parseNATS(text)
	case "cluster":
		return URL{}, fmt.Errorf("the store %s: %w: %s", scheme, ErrNotBuilt, forms)
	}
	// The text may hold a password.
	return URL{}, errors.New("this is no store: " + forms)
}

func parseSQLite(path string) (URL, error) {
	// sqlite:///var/lib/x.db is a path, too.
	if rest, ok := strings.CutPrefix(path, "//"); ok && strings.HasPrefix(rest, "/") {
		path = rest
	}
	if path == "" {
		path = DefaultPath
	}
	if strings.HasPrefix(path, "//") || strings.Contains(path, "?") {
		return URL{}, errors.New("sqlite: takes the path of a file and nothing else: write sqlite:PATH")
	}
	return URL{scheme: SQLite, path: path, text: "sqlite:" + path, shown: "sqlite:" + path}, nil
}

func parseRedis(text string) (URL, error) {
	opts, err := redis.ParseURL(text)
	if err != nil {
		return URL{}, err
	}
	scheme := "redis"
	if opts.TLS != nil {
		scheme = "rediss"
	}
	shown := fmt.Sprintf("%s://%s/%d", scheme, strings.Join(opts.Addresses, ","), opts.Database)
	return URL{scheme: Redis, text: text, shown: shown}, nil
}

func parsePostgres(text string) (URL, error) {
	shown := postgres.ShownURL(text)
	if shown == "" {
		return URL{}, errors.New("this is no URL of PostgreSQL: write postgres://USER:PASSWORD@HOST:5432/DATABASE, " +
			"with several hosts as HOST1:5432,HOST2:5432 and special characters as %XX")
	}
	if err := postgres.CheckURL(text); err != nil {
		return URL{}, err
	}
	return URL{scheme: PostgreSQL, text: text, shown: shown}, nil
}

// Scheme says which store it is.
func (u URL) Scheme() Scheme { return u.scheme }

// Path is that of SQLite's file, empty for other stores.
func (u URL) Path() string { return u.path }

// String says where the store is, without user, password and parameters.
func (u URL) String() string { return u.shown }

// Format implements [fmt.Formatter], so that no verb shows more than String.
func (u URL) Format(f fmt.State, _ rune) { fmt.Fprint(f, u.shown) }
