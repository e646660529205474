package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// CheckURL reports what is wrong with a URL, as far as that shows without
// reaching out. The error does not repeat what the URL says.
func CheckURL(url string) error {
	var opts Options
	if _, err := opts.poolConfig(url); err != nil {
		return fmt.Errorf("PostgreSQL store: %w", err)
	}
	return nil
}

// ShownURL returns the hosts and the database of a URL, without user, password
// and parameters; "" if it is none.
func ShownURL(text string) string {
	u, err := parseURL(text)
	if err != nil {
		return ""
	}
	return "postgres://" + u.Host + u.EscapedPath()
}

var errURL = errors.New("give a URL such as postgres://user:password@host:5432/database, " +
	"with several hosts as host1:5432,host2:5432 and special characters as %XX")

// parseURL reads a URL, which may have several hosts, as libpq has it: package
// url knows of one, and its errors repeat passwords.
func parseURL(text string) (*url.URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || (scheme != "postgres" && scheme != "postgresql") {
		return nil, errURL
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@') + 1 // behind the user
	hosts := strings.Split(rest[at:end], ",")
	var u *url.URL
	for _, host := range hosts {
		parsed, err := url.Parse(scheme + "://" + rest[:at] + host + rest[end:])
		if err != nil {
			return nil, errURL
		}
		u = parsed
	}
	u.Host = strings.Join(hosts, ",")
	return u, nil
}

// takeURL takes the parameters that are ours out of the URL, since the server
// would refuse them, and adds what several hosts need.
func (o *Options) takeURL(text string) (string, error) {
	u, err := parseURL(text)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if s := q.Get("schema"); s != "" && o.Schema == "" {
		o.Schema = s
	}
	if r := q.Get("replication"); r != "" && o.Replication == "" {
		if o.Replication, err = state.ParseReplication(r); err != nil {
			return "", err
		}
	}
	q.Del("schema")
	q.Del("replication")
	if strings.Contains(u.Host, ",") && !q.Has("target_session_attrs") {
		// A store has to write, so of several servers it takes the primary.
		q.Set("target_session_attrs", "read-write")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
