package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A State is where a session stands in its lifecycle; the package comment has
// the picture.
type State int

const (
	// Created: no access has been noted since the creation.
	Created State = iota + 1
	// Active: accessed within the active window.
	Active
	// Idle: not accessed for longer than the active window.
	Idle
	// Expired: a deadline has passed. Only [Manager.List] shows such sessions,
	// when asked, until a sweep ends them.
	Expired
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Created:
		return "created"
	case Active:
		return "active"
	case Idle:
		return "idle"
	case Expired:
		return "expired"
	}
	return "unknown"
}

// ParseState is the reverse of [State.String].
func ParseState(text string) (State, error) {
	for _, s := range []State{Created, Active, Idle, Expired} {
		if s.String() == text {
			return s, nil
		}
	}
	return 0, &state.InvalidError{What: "state", Why: "use created, active, idle or expired"}
}

// ReservedPrefix begins the keys of [Session.Data] that belong to Coatcheck.
// Update, Set and SignIn neither change nor take them over.
const ReservedPrefix = "coatcheck:"

// A Session is a snapshot of a session. Changing it changes nothing that is
// stored, except inside the function given to [Manager.Update], which may
// change Data and Metadata.
//
// A Session is not safe for concurrent use. The bytes of the values in Data
// are shared with the store: replace values, do not write into them.
type Session struct {
	// ID is the one under which the session was asked for or created; zero
	// where it was found by its ref.
	ID   ID
	Ref  state.Ref
	Kind string
	// User is the principal to whom the session is bound; empty for none.
	User string

	Created          time.Time
	LastAccessed     time.Time // as noted: at most one touch interval behind
	IdleDeadline     time.Time
	AbsoluteDeadline time.Time
	// Remaining is the lifetime left when the store answered. Count it down
	// on a monotonic clock instead of comparing the deadlines with a clock of
	// your own.
	Remaining time.Duration
	State     State

	Metadata state.Metadata
	Data     map[string]json.RawMessage

	Version, Epoch uint64
	Owner          string // the process in which it is live; empty for none

	// Superseded says that ID has the previous secret: it has been
	// regenerated, and works until its grace is over.
	Superseded bool
	// Next is what the client should have instead of a Superseded ID: hand it
	// over with the answer. It is zero otherwise.
	Next ID
	// RegenerateDue says that the secret is older than the policy's
	// RegenerateInterval. It is never set together with Superseded, nor for a
	// session whose client cannot be told (see [CreateRequest.FixedID]).
	RegenerateDue bool
}

// Expires returns the earlier of the two deadlines, by the store's clock.
func (s *Session) Expires() time.Time {
	if s.AbsoluteDeadline.Before(s.IdleDeadline) {
		return s.AbsoluteDeadline
	}
	return s.IdleDeadline
}

// Age returns how old the session was when the store answered.
func (s *Session) Age() time.Duration { return s.now().Sub(s.Created) }

// now is the store's clock at its answer: the one time on which all processes
// agree.
func (s *Session) now() time.Time { return s.Expires().Add(-s.Remaining) }

// Get decodes the value of the key into what into points to. It reports
// whether there is one.
func (s *Session) Get(key string, into any) (found bool, err error) {
	raw, found := s.Data[key]
	if !found {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		// The text of the error may quote the value.
		return true, fmt.Errorf("value of key %q does not fit into %T", key, into)
	}
	return true, nil
}

// Set encodes the value as JSON and puts it into Data.
func (s *Session) Set(key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode value of key %q: %w", key, err)
	}
	if s.Data == nil {
		s.Data = map[string]json.RawMessage{}
	}
	s.Data[key] = raw
	return nil
}

// Delete removes the key from Data.
func (s *Session) Delete(key string) { delete(s.Data, key) }

// session makes the snapshot of a record. It takes r.Data over.
func (m *Manager) session(id ID, r *state.Record) *Session {
	s := &Session{
		ID: id, Ref: r.Ref, Kind: r.Kind, User: r.User,
		Metadata: r.Meta, Data: r.Data, Owner: r.Owner,
	}
	m.stamp(s, r.Stamp)
	if !id.IsZero() {
		s.Superseded = !id.Matches(r.Secret.Hash)
		if s.Superseded {
			s.Next = m.successor(id, r)
		} else {
			s.RegenerateDue = m.regenerateDue(r)
		}
	}
	return s
}

// stamp sets what the store computed.
func (m *Manager) stamp(s *Session, st state.Stamp) {
	s.Created, s.LastAccessed = st.Created, st.LastAccessed
	s.IdleDeadline, s.AbsoluteDeadline = st.IdleDeadline, st.AbsoluteDeadline
	s.Remaining = st.Remaining
	s.Version, s.Epoch = st.Version, st.Epoch
	s.State = m.stateOf(&st)
}

func (m *Manager) stateOf(st *state.Stamp) State {
	switch {
	case st.Remaining <= 0:
		return Expired
	case !st.LastAccessed.After(st.Created):
		return Created
	case storeNow(st).Sub(st.LastAccessed) < m.policy.ActiveWindow:
		return Active
	}
	return Idle
}

// storeNow is the store's clock at its answer.
func storeNow(st *state.Stamp) time.Time { return st.Expires().Add(-st.Remaining) }

func (m *Manager) regenerateDue(r *state.Record) bool {
	if m.policy.RegenerateInterval == 0 || hasFixedID(r) {
		return false
	}
	since := r.Created
	if v, ok := rotatedOf(r); ok {
		since = v.At
	}
	return storeNow(&r.Stamp).Sub(since) >= m.policy.RegenerateInterval
}

// with returns a copy of the data with one more value.
func with(data map[string]json.RawMessage, key string, value json.RawMessage) map[string]json.RawMessage {
	c := maps.Clone(data)
	if c == nil {
		c = map[string]json.RawMessage{}
	}
	c[key] = value
	return c
}

func reserved(key string) bool { return strings.HasPrefix(key, ReservedPrefix) }

// withoutReserved returns the application's part of the data.
func withoutReserved(data map[string]json.RawMessage) map[string]json.RawMessage {
	own := maps.Clone(data)
	maps.DeleteFunc(own, func(k string, _ json.RawMessage) bool { return reserved(k) })
	return own
}
