package redis

import (
	"github.com/coatcheck-mcp/coatcheck/state"
)

const hexDigits = "0123456789abcdef"

// tag returns what the names of all keys begin with that belong to one
// routing byte of a namespace. The part in braces is what Redis Cluster takes
// the slot from.
func (s *Store) tag(namespace string, routing byte) string {
	return s.opts.Prefix + "{" + namespace + "." + string([]byte{hexDigits[routing>>4], hexDigits[routing&15]}) + "}:"
}

// channel returns where the changes of a namespace are published.
func (s *Store) channel(namespace string) string { return s.opts.Prefix + namespace + ":changes" }

// The keys of a tag.
func recordKey(tag, member string) string   { return tag + "r:" + member }
func eventsKey(tag, member string) string   { return tag + "e:" + member }
func orderKey(tag string) string            { return tag + "o" }
func kindsKey(tag string) string            { return tag + "k" }
func tombsKey(tag string) string            { return tag + "t" }
func sequenceKey(tag string) string         { return tag + "q" }
func dueKey(tag, kind string) string        { return tag + "d:" + kind }
func userKey(tag, kind, user string) string { return tag + "u:" + kind + ":" + user }

// member is the random part of a ref, by which it stands in the indexes of its
// tag.
func member(ref state.Ref) string { return string(ref.Bytes()[1:]) }

// refOf is the reverse of member.
func refOf(routing byte, member string) (state.Ref, error) {
	b := make([]byte, 1, 1+len(member))
	b[0] = routing
	return state.RefFromBytes(append(b, member...))
}
