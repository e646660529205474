package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Regenerate gives the session a new secret, in one step. The new id is in
// Session.ID; its ref is the same. The old one works for the grace on, so that
// requests in flight are not signed out, and leads to the same session, marked
// Superseded. Without a grace it ends at once: so at authentication and changes
// of privilege (OWASP ASVS 5.0, 7.2.4); [Policy.RegenerateGrace] is for the
// periodic kind.
//
// Of requests that regenerate the same id at the same moment one receives a new
// id; to the others it is [ErrSuperseded], or [ErrNotFound] without a grace.
func (m *Manager) Regenerate(ctx context.Context, id ID, grace time.Duration) (*Session, error) {
	return m.regenerate(ctx, id, grace, nil)
}

// regenerate also replaces the metadata if md is not nil.
func (m *Manager) regenerate(ctx context.Context, id ID, grace time.Duration, md *state.Metadata) (*Session, error) {
	next, err := m.gen.secretFor(id.Ref())
	if err != nil {
		return nil, fmt.Errorf("regenerate %s: %w", m.name(id.Ref()), err)
	}
	r, _, err := m.compareAndSwap(ctx, id.Ref(), m.opener(id), func(r *state.Record) (*state.UpdateOp, error) {
		if !id.Matches(r.Secret.Hash) {
			return nil, ErrSuperseded
		}
		op := &state.UpdateOp{Meta: md, Rotate: &state.Rotation{Hash: next.Hash(), Grace: grace}}
		if m.policy.RegenerateInterval > 0 {
			op.Data = rotatedAt(r)
		}
		return op, nil
	})
	if err != nil {
		return nil, err
	}
	m.emit(ctx, Event{Type: EventRegenerated, At: storeNow(&r.Stamp), Ref: r.Ref, User: r.User})
	return m.session(next, r), nil
}

// rotatedAt returns the data with the time of the regeneration noted.
func rotatedAt(r *state.Record) map[string]json.RawMessage {
	data := r.Clone().Data
	data[rotatedKey] = json.RawMessage(storeNow(&r.Stamp).Format(`"` + time.RFC3339Nano + `"`))
	return data
}
