package redis

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// WithConn lends a connection of the pool: fn has it to itself, for WATCH,
// transactions or whatever else needs that. It must not be used after fn has
// returned. With a cluster it is that of the first key used. If none comes free
// before the context is done the error is [state.ErrUnavailable].
func (s *Store) WithConn(ctx context.Context, fn func(context.Context, rueidis.DedicatedClient) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.lend(ctx); err != nil {
		return err
	}
	defer s.lent.Release(1)
	return s.client.Dedicated(func(c rueidis.DedicatedClient) error { return fn(ctx, c) })
}

// lend takes the right to use one of the pool's connections.
func (s *Store) lend(ctx context.Context) error {
	if err := s.lent.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for a connection to redis: %w: %w: %w", state.ErrUnavailable, errPool, err)
	}
	return nil
}

// warm opens the connections that are to stay. One that cannot be opened is
// left to whoever needs it.
func (s *Store) warm() {
	if s.mode == rueidis.ClientModeCluster {
		return
	}
	var give []func()
	for range s.opts.Pool.MinIdle {
		_, cancel := s.client.Dedicate()
		give = append(give, cancel)
	}
	for _, cancel := range give {
		cancel()
	}
}
