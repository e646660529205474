package cluster

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Kind is that of heartbeat records.
const Kind = "_node"

// nodeUser is the user of heartbeat records: every store finds a user's records
// by an index, however many others there are.
const nodeUser = "coatcheck nodes"

// nodeRouting is the routing byte of heartbeat records, which share a user.
const nodeRouting = 'n'

// nodeKey is under which a heartbeat record keeps what it says.
const nodeKey = "node"

// maxMembers bounds how many heartbeat records are read.
const maxMembers = 1024

// A State is what a member says of itself.
type State string

const (
	// Serving takes sessions.
	Serving State = "serving"
	// Draining is about to leave, and takes none.
	Draining State = "draining"
)

// A Member is an incarnation of a replica, as its heartbeat record shows it.
type Member struct {
	Name      string // as session records have it as their Owner
	Advertise string // empty if the record cannot be understood
	Version   string
	State     State
	Since     time.Time // by the store's clock
	LastSeen  time.Time // when its last heartbeat was stored, by the store's clock
	// Silent is how long ago that was when the record was read, by the
	// store's clock.
	Silent time.Duration
	// Lapsed: this node has counted its silence over the timeout.
	Lapsed bool
	Self   bool
}

// An announcement is what a heartbeat record says.
type announcement struct {
	Advertise string            `json:"advertise"`
	Key       ed25519.PublicKey `json:"key"`
	Version   string            `json:"version,omitempty"`
	State     State             `json:"state"`
	// Forward is the highest version of the forward header understood.
	Forward int `json:"forward"`
}

func (a *announcement) data() (map[string]json.RawMessage, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode the heartbeat record: %w", err)
	}
	return map[string]json.RawMessage{nodeKey: text}, nil
}

// announced returns what a record says. One that cannot be understood, of a
// newer program perhaps, is a member all the same, that cannot be reached.
func announced(r *state.Record) announcement {
	var a announcement
	if json.Unmarshal(r.Data[nodeKey], &a) != nil || checkAdvertise(a.Advertise) != nil || len(a.Key) != ed25519.PublicKeySize {
		return announcement{}
	}
	return a
}

// memberOf returns the member that a record shows.
func memberOf(r *state.Record, a *announcement) Member {
	return Member{
		Name: r.Ref.String(), Advertise: a.Advertise, Version: a.Version, State: a.State,
		Since: r.Created, LastSeen: r.LastAccessed,
		// Expires less Remaining is the store's time when it was read.
		Silent: max(0, r.Expires().Add(-r.Remaining).Sub(r.LastAccessed)),
	}
}

// Members reads from the store who is there, for a program that is not one of
// them. Silent tells how each is.
func Members(ctx context.Context, store state.Store, namespace string) ([]Member, error) {
	records, err := nodeRecords(ctx, store, namespace)
	if err != nil {
		return nil, err
	}
	members := make([]Member, len(records))
	for i := range records {
		a := announced(&records[i])
		members[i] = memberOf(&records[i], &a)
	}
	return members, nil
}

// nodeRecords reads the heartbeat records, in the order of their refs.
func nodeRecords(ctx context.Context, store state.Store, namespace string) ([]state.Record, error) {
	user := nodeUser
	var records []state.Record
	for r, err := range store.List(ctx, state.Query{Namespace: namespace, Kind: Kind, User: &user}) {
		if err != nil {
			return nil, fmt.Errorf("list the members: %w", err)
		}
		if len(records) == maxMembers {
			return nil, fmt.Errorf("list the members: more than %d, of which most must be gone", maxMembers)
		}
		records = append(records, r)
	}
	return records, nil
}
