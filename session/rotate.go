package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Regenerate gives the session a new secret, in one step. The new id is in
// Session.ID; its ref is the same.
//
// Without a grace the old id ends at once: so at authentication and changes of
// privilege (OWASP ASVS 5.0, 7.2.4). Of requests that regenerate one id at the
// same moment one receives a new id; to the others it is [ErrNotFound].
//
// With a grace, which is for the periodic kind ([Policy.RegenerateGrace]), the
// old id works that much longer, so that requests in flight are not signed
// out, and leads to the new one: whoever presents it finds the session marked
// Superseded, with the new id in Session.Next, and to regenerate it again
// answers with that same id. So it does not matter which of a client's parallel
// requests, at which replica, has its answer arrive.
//
// Only a client that can be told of its new id may be given one. The MCP
// protocol of the 2025 revisions says the id once, in the answer to
// initialize; a session created with [CreateRequest.FixedID] is [ErrFixedID].
func (m *Manager) Regenerate(ctx context.Context, id ID, grace time.Duration) (*Session, error) {
	return m.regenerate(ctx, id, change{grace: grace})
}

// Elevate is [Manager.Update] for a change of privileges: what fn changes and a
// new secret are written in one step, without a grace. So an id from before
// never has the new privileges.
func (m *Manager) Elevate(ctx context.Context, id ID, fn func(*Session) error) (*Session, error) {
	return m.regenerate(ctx, id, change{fn: fn})
}

// A change is what is written together with a new secret.
type change struct {
	grace time.Duration
	meta  *state.Metadata      // nil: unchanged
	proof *Authentication      // nil: none
	fn    func(*Session) error // nil: none; changes Data and Metadata
}

func (m *Manager) regenerate(ctx context.Context, id ID, c change) (*Session, error) {
	plan, err := m.planRotation(id, c.grace)
	if err != nil {
		return nil, fmt.Errorf("regenerate %s: %w", m.name(id.Ref()), err)
	}
	next := plan.next
	r, wrote, err := m.compareAndSwap(ctx, id.Ref(), m.opener(id), func(r *state.Record) (*state.UpdateOp, error) {
		if hasFixedID(r) {
			return nil, ErrFixedID
		}
		if c.grace > 0 && !id.Matches(r.Secret.Hash) {
			if next = m.successor(id, r); next.IsZero() {
				return nil, ErrSuperseded
			}
			return nil, nil // another request has done it
		}
		next = plan.next
		return m.changeOp(id, r, plan, c)
	})
	if err != nil {
		return nil, err
	}
	if wrote {
		m.emit(ctx, Event{Type: EventRegenerated, At: storeNow(&r.Stamp), Ref: r.Ref, User: r.User})
	}
	return m.session(next, r), nil
}

// changeOp returns the one update that makes the change and gives r its new
// secret.
func (m *Manager) changeOp(id ID, r *state.Record, plan rotation, c change) (*state.UpdateOp, error) {
	op := &state.UpdateOp{Meta: c.meta}
	if c.fn != nil {
		changed, err := m.contentOp(r, content{id: id, fn: c.fn})
		if err != nil {
			return nil, err
		}
		if changed != nil {
			op = changed
		}
	}
	op.Rotate = &state.Rotation{Hash: plan.next.Hash(), Grace: c.grace}
	data := r.Clone().Data
	if op.Data != nil {
		data = op.Data
	}
	noted := m.noteRotation(r, data, plan.salt)
	if c.proof != nil {
		if err := noteProof(data, *c.proof, storeNow(&r.Stamp)); err != nil {
			return nil, err
		}
		noted = true
	}
	if noted {
		op.Data = data
	}
	return op, nil
}

// rotatedKey holds when the secret was last regenerated, and what leads from
// the old to the new one.
const rotatedKey = ReservedPrefix + "rotated"

type rotated struct {
	At   time.Time `json:"at"`
	Salt []byte    `json:"salt,omitempty"`
}

func rotatedOf(r *state.Record) (rotated, bool) {
	var v rotated
	raw, ok := r.Data[rotatedKey]
	return v, ok && json.Unmarshal(raw, &v) == nil
}

// noteRotation notes in data when the secret was regenerated, if that is of use
// to anybody, and reports whether data changed.
func (m *Manager) noteRotation(r *state.Record, data map[string]json.RawMessage, salt []byte) bool {
	if m.policy.RegenerateInterval == 0 && salt == nil {
		_, stale := data[rotatedKey]
		delete(data, rotatedKey)
		return stale
	}
	raw, _ := json.Marshal(rotated{At: storeNow(&r.Stamp), Salt: salt}) // a time of a store has a year that can be written
	data[rotatedKey] = raw
	return true
}
