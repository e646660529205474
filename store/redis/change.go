package redis

import (
	"encoding/binary"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A notice is a change as it is published: the type, its number within the
// tag, the ref, version and revision, then the lengths of kind and reason, and
// kind, reason and by.
type notice struct {
	change   state.Change
	sequence uint64
}

// noticeSize is up to the lengths.
const noticeSize = 1 + 8 + 17 + 8 + 8 + 2

// parseNotice reads a message. What is not a notice says false.
func parseNotice(namespace, m string) (notice, bool) {
	if len(m) < noticeSize {
		return notice{}, false
	}
	ref, err := state.RefFromBytes([]byte(m[9:26]))
	nkind, nreason := int(m[42]), int(m[43])
	text := m[noticeSize:]
	if err != nil || len(text) < nkind+nreason {
		return notice{}, false
	}
	c := state.Change{
		Type:     state.ChangeType(m[0]),
		Key:      state.Key{Namespace: namespace, Ref: ref},
		Kind:     text[:nkind],
		Version:  binary.BigEndian.Uint64([]byte(m[26:34])),
		Revision: binary.BigEndian.Uint64([]byte(m[34:42])),
		Reason:   state.Reason(text[nkind : nkind+nreason]),
	}
	if c.Type == state.Deleted {
		c.By = text[nkind+nreason:]
	}
	return notice{change: c, sequence: binary.BigEndian.Uint64([]byte(m[1:9]))}, true
}
