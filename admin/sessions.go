package admin

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Sessions is what operators see of sessions and do with them. [Local] does it
// on a store, [Client] asks a server that does. Errors are those of package
// session, in either case with the same text.
type Sessions interface {
	// List yields the sessions of the query in the order of their refs. An
	// error comes last.
	List(ctx context.Context, q Query) iter.Seq2[Session, error]
	// Show returns one that lives; its values only if data is set.
	Show(ctx context.Context, ref state.Ref, data bool) (Detail, error)
	// Explain says what became of one.
	Explain(ctx context.Context, ref state.Ref) (Explanation, error)
	// Watch yields what happens to those of a kind, and a beat about once a
	// second as a sign of life, until ctx ends. An error comes last.
	Watch(ctx context.Context, kind string) (iter.Seq2[Change, error], error)
	// Revoke ends one, whatever its kind. It reports false for one that had
	// ended before; one that is not known at all is [session.ErrNotFound].
	Revoke(ctx context.Context, ref state.Ref, by string) (bool, error)
	// RevokeMany ends several and returns how many it ended.
	RevokeMany(ctx context.Context, which Revocation) (int, error)
}

// DefaultKind is the kind of which an empty one speaks.
const DefaultKind = "session"

// A Query selects sessions. The zero value selects all that live.
type Query struct {
	Kind string // empty: DefaultKind
	session.Query
}

// A Revocation says which sessions are to end: those of a user, or all.
type Revocation struct {
	Kind   string    `json:"kind,omitempty"` // empty: DefaultKind
	User   *string   `json:"user,omitempty"`
	All    bool      `json:"all,omitempty"`
	Before time.Time `json:"before,omitzero"` // with All: only those created before
	By     string    `json:"by,omitempty"`    // who ends them, for people
}

// Check says what is wrong with a Revocation: nobody is to end more sessions
// than was meant.
func (r *Revocation) Check() error {
	switch {
	case r.All == (r.User != nil):
		return &state.InvalidError{What: "revocation", Why: "give a user, or say that it is all"}
	case r.User != nil && *r.User == "":
		return &state.InvalidError{What: "revocation", Why: "the user is empty: sessions of nobody are ended one by one or with all"}
	case r.User != nil && !r.Before.IsZero():
		return &state.InvalidError{What: "revocation", Why: "a time goes with all"}
	}
	return nil
}

// A Session is what is listed of a session. The first eight fields are a
// contract with scripts.
type Session struct {
	Ref          state.Ref `json:"ref"`
	Kind         string    `json:"kind"`
	User         string    `json:"user"`
	State        string    `json:"state"`
	CreatedAt    time.Time `json:"created_at"`
	LastAccessed time.Time `json:"last_accessed"`
	ExpiresAt    time.Time `json:"expires_at"`
	Owner        string    `json:"owner"`

	Address         string `json:"address,omitempty"`
	UserAgent       string `json:"user_agent,omitempty"`
	ProtocolVersion string `json:"protocol_version,omitempty"`
}

// A Detail is a session with all that may be shown of it. What is never shown,
// the hash of its secret included, is not in it.
type Detail struct {
	Session
	Version      uint64                     `json:"version"`
	Epoch        uint64                     `json:"epoch"`
	Capabilities json.RawMessage            `json:"client_capabilities,omitempty"`
	DataBytes    map[string]int             `json:"data_bytes"`
	Data         map[string]json.RawMessage `json:"data,omitempty"`
	// Replicas are the nodes of the database that have it, the leader first;
	// empty if the store keeps it in one place.
	Replicas []state.Node `json:"replicas,omitempty"`
}

// An Explanation is what is known of a session, live or gone.
type Explanation struct {
	Ref     state.Ref `json:"ref"`
	Live    bool      `json:"live"`
	Kind    string    `json:"kind"`
	User    string    `json:"user"`
	State   string    `json:"state"` // "ended" for one that is gone
	Created time.Time `json:"created_at"`
	Last    time.Time `json:"last_accessed"`

	Expires *time.Time `json:"expires_at,omitempty"`
	Ended   *time.Time `json:"ended_at,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	By      string     `json:"by,omitempty"`
	Text    string     `json:"text"`
}

// A Change is one report of a watch.
type Change struct {
	At     time.Time  `json:"at"`
	Change string     `json:"change"`        // "gap": some may have been missed; "beat": nothing happened
	Ref    *state.Ref `json:"ref,omitempty"` // nil for a gap and a beat
	Kind   string     `json:"kind,omitempty"`
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`
}

// SessionOf returns what is listed of a session.
func SessionOf(s *session.Session) Session {
	out := Session{
		Ref: s.Ref, Kind: s.Kind, User: s.User, State: s.State.String(),
		CreatedAt: s.Created, LastAccessed: s.LastAccessed, ExpiresAt: s.Expires(), Owner: s.Owner,
		UserAgent: s.Metadata.UserAgent, ProtocolVersion: s.Metadata.ProtocolVersion,
	}
	if s.Metadata.Address.IsValid() {
		out.Address = s.Metadata.Address.String()
	}
	return out
}

func detailOf(s *session.Session, data bool) Detail {
	d := Detail{
		Session: SessionOf(s), Version: s.Version, Epoch: s.Epoch,
		Capabilities: s.Metadata.Capabilities, DataBytes: map[string]int{},
	}
	for k, v := range s.Data {
		d.DataBytes[k] = len(v)
	}
	if data {
		d.Data = s.Data
	}
	return d
}

func explanationOf(e session.Explanation) Explanation {
	out := Explanation{Ref: e.Ref, Text: e.String()}
	if s := e.Live; s != nil {
		expires := s.Expires()
		out.Live, out.Kind, out.User, out.State = true, s.Kind, s.User, s.State.String()
		out.Created, out.Last, out.Expires = s.Created, s.LastAccessed, &expires
		return out
	}
	if end := e.End; end != nil {
		out.Kind, out.User, out.State = end.Kind, end.User, "ended"
		out.Created, out.Last, out.Ended = end.Created, end.LastAccessed, &end.At
		out.Reason, out.By = string(end.Reason), end.By
	}
	return out
}

func changeOf(ch state.Change) Change {
	out := Change{At: state.Cut(time.Now()), Change: ch.Type.String(), Kind: ch.Kind, Reason: string(ch.Reason), By: ch.By}
	if ch.Type != state.Gap && ch.Type != state.Beat {
		out.Ref = &ch.Key.Ref
	}
	return out
}

// A Local is [Sessions] on a store.
type Local struct {
	store     state.Store
	namespace string
	observe   func(context.Context, session.Event)
}

var _ Sessions = (*Local)(nil)

// NewLocal returns Sessions of a namespace. What they end is told to observe,
// if that is not nil.
func NewLocal(store state.Store, namespace string, observe func(context.Context, session.Event)) *Local {
	return &Local{store: store, namespace: namespace, observe: observe}
}

func (l *Local) manager(kind string) (*session.Manager, error) {
	if kind == "" {
		kind = DefaultKind
	}
	return session.NewManager(l.store, session.Options{Namespace: l.namespace, Kind: kind, Observe: l.observe})
}

// managerOf returns the Manager for the kind that the ref is, or was, of. A
// ref names one record whatever its kind, so nobody has to give it.
func (l *Local) managerOf(ctx context.Context, ref state.Ref) (*session.Manager, error) {
	kind := DefaultKind
	r, err := l.store.Get(ctx, state.Key{Namespace: l.namespace, Ref: ref})
	var gone *state.NotFoundError
	switch {
	case err == nil:
		kind = r.Kind
	case errors.As(err, &gone) && gone.End != nil && gone.End.Kind != "":
		kind = gone.End.Kind
	case !errors.Is(err, state.ErrNotFound):
		return nil, err
	}
	return l.manager(kind)
}

// List implements [Sessions].
func (l *Local) List(ctx context.Context, q Query) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		m, err := l.manager(q.Kind)
		if err != nil {
			yield(Session{}, err)
			return
		}
		for s, err := range m.List(ctx, q.Query) {
			if err != nil {
				yield(Session{}, err)
				return
			}
			if !yield(SessionOf(s), nil) {
				return
			}
		}
	}
}

// Show implements [Sessions].
func (l *Local) Show(ctx context.Context, ref state.Ref, data bool) (Detail, error) {
	m, err := l.managerOf(ctx, ref)
	if err != nil {
		return Detail{}, err
	}
	s, err := m.Lookup(ctx, ref)
	if err != nil {
		return Detail{}, err
	}
	d := detailOf(s, data)
	d.Replicas, err = state.ReplicaSet(ctx, l.store, state.Key{Namespace: l.namespace, Ref: ref})
	return d, err
}

// Explain implements [Sessions].
func (l *Local) Explain(ctx context.Context, ref state.Ref) (Explanation, error) {
	m, err := l.managerOf(ctx, ref)
	if err != nil {
		return Explanation{}, err
	}
	e, err := m.Explain(ctx, ref)
	if err != nil {
		return Explanation{}, err
	}
	return explanationOf(e), nil
}

// Watch implements [Sessions].
func (l *Local) Watch(ctx context.Context, kind string) (iter.Seq2[Change, error], error) {
	m, err := l.manager(kind)
	if err != nil {
		return nil, err
	}
	changes, err := m.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return func(yield func(Change, error) bool) {
		for ch := range changes {
			sign := ch.Type == state.Gap || ch.Type == state.Beat
			if (sign || ch.Kind == m.Kind()) && !yield(changeOf(ch), nil) {
				return
			}
		}
	}, nil
}

// Revoke implements [Sessions].
func (l *Local) Revoke(ctx context.Context, ref state.Ref, by string) (bool, error) {
	m, err := l.managerOf(ctx, ref)
	if err != nil {
		return false, err
	}
	ended, err := m.Revoke(ctx, ref, state.ReasonRevoked, by)
	if err != nil || ended {
		return ended, err
	}
	// Of one that ended before there is a sign; without any, the ref is
	// rather a typing mistake.
	if _, err := m.Explain(ctx, ref); errors.Is(err, session.ErrNotFound) {
		return false, err
	}
	return false, nil
}

// RevokeMany implements [Sessions].
func (l *Local) RevokeMany(ctx context.Context, which Revocation) (int, error) {
	if err := which.Check(); err != nil {
		return 0, err
	}
	m, err := l.manager(which.Kind)
	if err != nil {
		return 0, err
	}
	if which.All {
		return m.RevokeAll(ctx, which.By, which.Before)
	}
	return m.RevokeUser(ctx, *which.User, which.By)
}
