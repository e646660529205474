package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Extend lets the session live for d from now, longer or shorter than it had,
// idle or not; at most until the policy's MaxLifetime after its creation. d is
// at least a millisecond. It counts as an access.
func (m *Manager) Extend(ctx context.Context, id ID, d time.Duration) (*Session, error) {
	r, err := m.read(ctx, id)
	if err != nil {
		return nil, err
	}
	res, err := state.Do(ctx, m.store, state.ExtendOp{Key: r.Key(), For: d, Max: m.policy.MaxLifetime})
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("extend %s: %w", m.name(r.Ref), err)
	}
	r.Stamp = res.Stamp
	m.emit(ctx, Event{Type: EventExtended, At: r.LastAccessed, Ref: r.Ref, User: r.User})
	return m.session(id, &r), nil
}
