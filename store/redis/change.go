package redis

import (
	"encoding/binary"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A notice is a change as it is published: its length in two bytes, the type,
// its number within the tag, the ref, version and revision, then the lengths of
// kind and reason, and kind, reason and by. A message is one or several.
type notice struct {
	change   state.Change
	sequence uint64
}

// noticeSize is from the type up to the lengths.
const noticeSize = 1 + 8 + 17 + 8 + 8 + 2

// nextNotice takes the first notice off a message. What is not one says false.
func nextNotice(namespace, m string) (n notice, rest string, ok bool) {
	if len(m) < 2 {
		return n, "", false
	}
	end := 2 + int(m[0])<<8 + int(m[1])
	if len(m) < end {
		return n, "", false
	}
	n, ok = parseNotice(namespace, m[2:end])
	return n, m[end:], ok
}

// parseNotice reads one without its length.
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
