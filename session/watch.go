package session

import (
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Watch reports what happens to the records of this namespace, of every kind,
// by whichever process, until ctx ends or the store is closed. Beats and gaps
// are reported too: after a [state.Gap], and after silence for three beats,
// which are a second apart, what was learned is void. See [state.Store].
func (m *Manager) Watch(ctx context.Context) (<-chan state.Change, error) {
	changes, err := m.store.Watch(ctx, state.WatchOptions{Namespace: m.namespace})
	if err != nil {
		return nil, fmt.Errorf("watch %ss: %w", m.kind, err)
	}
	return changes, nil
}
