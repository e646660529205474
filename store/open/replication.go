package open

import (
	"fmt"
	"net/url"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A ReplicationError says that a store does not acknowledge writes at the level
// that was asked for.
type ReplicationError struct {
	Store       string // where it is
	Asked, Have state.Replication
}

func (e *ReplicationError) Error() string {
	if e.Have == "" {
		return fmt.Sprintf("%s keeps no copies, so there is no replication %s: leave it out, or take a store that does", e.Store, e.Asked)
	}
	return fmt.Sprintf("%s keeps replication %s, not %s: ask for that, or leave it out", e.Store, e.Have, e.Asked)
}

// replicated returns the URL with the level as its parameter, which all stores
// that keep copies know. Those of PostgreSQL and NATS may have several hosts, which
// package url does not understand, so the level goes into their options.
func (u URL) replicated(level state.Replication) (URL, error) {
	if level == "" {
		return u, nil
	}
	switch u.scheme {
	case Memory, SQLite:
		if level != state.ReplicateNone {
			return u, &ReplicationError{Store: u.String(), Asked: level}
		}
		return u, nil
	case PostgreSQL, NATS:
		return u, nil
	}
	parsed, err := url.Parse(u.text)
	if err != nil {
		// It was parsed before, by the driver. The error would repeat it.
		return u, fmt.Errorf("open %s: write replication=%s into the URL yourself", u, level)
	}
	params := parsed.Query()
	params.Set("replication", string(level))
	parsed.RawQuery = params.Encode()
	u.text = parsed.String()
	return u, nil
}

// checkReplication compares what is promised with what was asked for. A store
// that keeps no copies keeps the level none.
func checkReplication(store state.Store, u URL, asked state.Replication) error {
	have := store.Guarantees().Replication
	if asked == "" || have == asked || have == "" && asked == state.ReplicateNone {
		return nil
	}
	return &ReplicationError{Store: u.String(), Asked: asked, Have: have}
}
