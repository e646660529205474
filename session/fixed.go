package session

import (
	"encoding/json"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// fixedIDKey marks a session whose client cannot be told of a new id.
const fixedIDKey = ReservedPrefix + "fixed-id"

func hasFixedID(r *state.Record) bool { return string(r.Data[fixedIDKey]) == "true" }

// withFixedID returns the data with the mark.
func withFixedID(data map[string]json.RawMessage) map[string]json.RawMessage {
	return with(data, fixedIDKey, json.RawMessage("true"))
}
