package session

import (
	"context"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Sweep removes expired sessions until there are none left, in bounded steps,
// and returns how many this call ended. Each is reported as an [EventEnded] by
// exactly one process, however many sweep at once.
func (m *Manager) Sweep(ctx context.Context) (int, error) {
	opts := state.SweepOptions{Namespace: m.namespace, Kind: m.kind}
	total := 0
	for {
		ends, err := m.store.Sweep(ctx, opts)
		total += len(ends)
		m.ended(ctx, ends...)
		if err != nil {
			return total, fmt.Errorf("sweep %ss: %w", m.kind, err)
		}
		if len(ends) < opts.Limit() {
			return total, nil
		}
	}
}

// Run sweeps, at once and then at every [Policy.SweepInterval], until ctx ends;
// it returns nil then. A sweep that fails is logged, and the next one tried in
// its time.
func (m *Manager) Run(ctx context.Context) error {
	t := time.NewTicker(m.policy.SweepInterval)
	defer t.Stop()
	for {
		if n, err := m.Sweep(ctx); err != nil && ctx.Err() == nil {
			m.log.ErrorContext(ctx, "could not sweep expired sessions", "kind", m.kind, "swept", n, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
