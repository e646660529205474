package sqlite

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const endColumns = `kind, user, version, created_at, last_accessed_at, ended_at, reason, by, op`

func scanEnd(r row, key state.Key) (state.End, error) {
	e := state.End{
		Key:          key,
		Kind:         r.text(0),
		User:         r.text(1),
		Version:      r.uint64(2),
		Created:      fromMillis(r.int64(3)),
		LastAccessed: fromMillis(r.int64(4)),
		At:           fromMillis(r.int64(5)),
		Reason:       state.Reason(r.text(6)),
		By:           r.text(7),
	}
	return e, scanBytes(r, 8, e.Op[:], "op")
}

// tombstone returns what is remembered of the end of key; nil for nothing.
func (c *conn) tombstone(key state.Key) (*state.End, error) {
	var end *state.End
	_, err := c.query(selectEnd).key(key).one(func(r row) error {
		e, err := scanEnd(r, key)
		end = &e
		return err
	})
	if err != nil {
		return nil, err
	}
	return end, nil
}

// notFound returns the error for a key under which nothing lives: found is the
// expired record that is there, or nil.
func (c *conn) notFound(key state.Key, found *stored) error {
	if found != nil {
		end := found.expiry()
		return &state.NotFoundError{End: &end}
	}
	end, err := c.tombstone(key)
	if err != nil {
		return err
	}
	return &state.NotFoundError{End: end}
}

// end returns the tombstone of a record that ends.
func (s *stored) end(at time.Time, reason state.Reason, by string) state.End {
	return state.End{
		Key: s.Key(), Kind: s.Kind, User: s.User, Version: s.Version,
		Created: s.Created, LastAccessed: s.LastAccessed,
		At: state.Cut(at), Reason: reason, By: by,
	}
}

func (s *stored) expiry() state.End { return s.end(s.Expires(), s.Expiry(), "") }
