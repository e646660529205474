package nats

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// streamName names a stream. Streams divide the routing bytes into ranges, in
// their order, so that a List goes from stream to stream.
func (s *Store) streamName(i int) string { return s.opts.Name + "-" + strconv.Itoa(i) }

func (s *Store) streamOf(routing byte) int { return int(routing) * s.opts.Streams / 256 }

// spaceToken is a namespace as part of a subject, where a dot would divide.
func spaceToken(namespace string) string { return strings.ReplaceAll(namespace, ".", "/") }

func (s *Store) recordSubject(key state.Key) string {
	return s.recordsOf(key.Namespace, key.Ref.Routing()) + key.Ref.String()
}

// recordsOf is what the subjects of records of a routing byte begin with.
func (s *Store) recordsOf(namespace string, routing byte) string {
	return fmt.Sprintf("%s.r.%s.%02x.", s.streamName(s.streamOf(routing)), spaceToken(namespace), routing)
}

// recordSubjects matches all records of a namespace in a stream.
func (s *Store) recordSubjects(stream int, namespace string) string {
	return s.streamName(stream) + ".r." + spaceToken(namespace) + ".>"
}

// indexSubject is of the index of a user's records with a routing byte.
func (s *Store) indexSubject(namespace, user string, routing byte) string {
	return fmt.Sprintf("%s.u.%s.%02x.%s", s.streamName(s.streamOf(routing)), spaceToken(namespace), routing, userToken(user))
}

// indexSubjects matches a user's indexes in a stream, whatever the routing byte.
func (s *Store) indexSubjects(stream int, namespace, user string) string {
	return fmt.Sprintf("%s.u.%s.*.%s", s.streamName(stream), spaceToken(namespace), userToken(user))
}

// userToken stands for a user in a subject. Of two users with the same one,
// which nobody has, each would find the other's records and not take them.
func userToken(user string) string {
	sum := sha256.Sum256([]byte(user))
	return hex.EncodeToString(sum[:16])
}

// A slot is what stands in a record's place.
type slot struct {
	key    state.Key
	stream int
	seq    uint64 // of its message; zero: nothing is there
	rec    *state.Record
	tomb   *tomb
	events bool // the record has, or had, events
}

// Marks at the begin of a value.
const (
	markRecord = 'r' // then 0 or 1, whether there are events, then the record
	markTomb   = 't' // then the tomb as JSON
)

// A tomb is a tombstone as it is stored.
type tomb struct {
	Kind       string `json:"k"`
	User       []byte `json:"u,omitempty"`
	Version    uint64 `json:"v"`
	Revision   uint64 `json:"n"`
	Created    int64  `json:"c"`
	Accessed   int64  `json:"l"`
	At         int64  `json:"at"`
	Due        int64  `json:"due"` // when it may be forgotten
	Reason     string `json:"why"`
	By         string `json:"by,omitempty"`
	Op         []byte `json:"op"`
	WithEvents bool   `json:"e,omitempty"`
}

func (t *tomb) end(key state.Key) state.End {
	return state.End{
		Key: key, Kind: t.Kind, User: string(t.User), Version: t.Version,
		Created: fromMillis(t.Created), LastAccessed: fromMillis(t.Accessed), At: fromMillis(t.At),
		Reason: state.Reason(t.Reason), By: t.By, Op: state.OpID(t.Op),
	}
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func parseSlot(key state.Key, m message) (slot, error) {
	sl := slot{key: key, seq: m.seq}
	if m.seq == 0 {
		return sl, nil
	}
	bad := fmt.Errorf("read the record %s: %w", key, state.ErrCorrupt)
	if len(m.data) < 2 {
		return sl, bad
	}
	switch m.data[0] {
	case markTomb:
		sl.tomb = &tomb{}
		if err := json.Unmarshal(m.data[1:], sl.tomb); err != nil || len(sl.tomb.Op) != len(state.OpID{}) {
			return sl, bad
		}
		sl.events = sl.tomb.WithEvents
		return sl, nil
	case markRecord:
		r, err := state.DecodeRecord(m.data[2:])
		if err != nil {
			return sl, err
		}
		if r.Key() != key {
			return sl, bad
		}
		sl.rec, sl.events = &r, m.data[1] != 0
		return sl, nil
	}
	return sl, bad
}

func encodeRecord(r *state.Record, events bool) ([]byte, error) {
	b := []byte{markRecord, 0}
	if events {
		b[1] = 1
	}
	return state.AppendRecord(b, r)
}

// changeHeader carries what a watch reports of a message.
const changeHeader = "Coatcheck-Change"

func encodeChange(t state.ChangeType, kind string, version, revision uint64, reason state.Reason, by string) string {
	return fmt.Sprintf("%d %s %d %d %s.%s", t, kind, version, revision, reason, base64.RawURLEncoding.EncodeToString([]byte(by)))
}

func parseChange(key state.Key, text string) (state.Change, bool) {
	c := state.Change{Key: key}
	var t int
	var tail string
	if n, err := fmt.Sscanf(text, "%d %s %d %d %s", &t, &c.Kind, &c.Version, &c.Revision, &tail); n != 5 || err != nil {
		return c, false
	}
	i := strings.LastIndexByte(tail, '.')
	if i < 0 {
		return c, false
	}
	by, err := base64.RawURLEncoding.DecodeString(tail[i+1:])
	c.Type, c.Reason = state.ChangeType(t), state.Reason(tail[:i])
	if c.Type == state.Deleted {
		c.By = string(by)
	}
	return c, err == nil
}

// An index names the records of a user. What it names may have ended by
// expiry; what has not ended is named.
type index struct {
	Entries []indexEntry `json:"e"`
}

type indexEntry struct {
	Kind    string    `json:"k"`
	Ref     state.Ref `json:"r"`
	Created int64     `json:"c"`
}

func parseIndex(m message) (index, error) {
	var ix index
	if m.seq == 0 {
		return ix, nil
	}
	if err := json.Unmarshal(m.data, &ix); err != nil {
		return ix, fmt.Errorf("read the index of a user: %w", state.ErrCorrupt)
	}
	return ix, nil
}
