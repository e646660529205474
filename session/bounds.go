package session

import (
	"encoding/json"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// MaxKeys bounds the keys of [Session.Data]; more is [ErrTooLarge].
const MaxKeys = 1024

// MaxContentBytes bounds what [Manager.Update] leaves in a session, as
// [state.Size] measures it. The rest of a record is kept free, so that a full
// session can still be signed in to and regenerated.
const MaxContentBytes = state.MaxRecordBytes - 4<<10

// checkContent refuses a session that has grown too large. Adapters, who change
// reserved keys, may use all of the record.
func checkContent(s *Session, adapter bool) error {
	if err := checkKeys(s.Data); err != nil || adapter {
		return err
	}
	r := state.Record{User: s.User, Meta: s.Metadata, Data: s.Data}
	if n := state.Size(&r); n > MaxContentBytes {
		return &state.BoundError{What: "session", Size: n, Max: MaxContentBytes}
	}
	return nil
}

func checkKeys(data map[string]json.RawMessage) error {
	if len(data) > MaxKeys {
		return &state.BoundError{What: "data keys", Size: len(data), Max: MaxKeys}
	}
	return nil
}
