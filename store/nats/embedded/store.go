package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// electionWait is how long an operation waits for a leader: longer than an
// election takes, so that who asks meanwhile is served late rather than refused.
const electionWait = 10 * time.Second

// raiseWait is how long a node waits for the third unless it is told to.
const raiseWait = 15 * time.Second

// A Store keeps records in the cluster of which it runs a node. Use [Open] to
// make one.
type Store struct {
	*nats.Store
	node *Server
}

// Open starts a node, and opens the store that its cluster keeps. Closing the
// store stops the node. Where three nodes are to keep each record, it waits for
// that.
func Open(ctx context.Context, opts Options) (*Store, error) {
	node, err := Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	s, err := node.open(ctx)
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return &Store{Store: s, node: node}, nil
}

// Promote starts a node, which no other process may run meanwhile, and promotes
// mirrors in its cluster; see [nats.Promote]. It takes a majority of the nodes.
func Promote(ctx context.Context, opts Options, dry bool) (_ []nats.Promotion, err error) {
	opts.Level = state.ReplicateLeader // or the node would have more replicas made
	node, err := Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	return nats.Promote(ctx, node.conn, node.storeOptions(), dry)
}

// open opens the store, and again when its streams are kept by as many nodes as
// they are to be, since what it promises depends on that.
func (s *Server) open(ctx context.Context) (*nats.Store, error) {
	store, err := nats.Open(ctx, s.conn, s.storeOptions())
	if err != nil || s.opts.Nodes < 3 || s.opts.Replicas < 3 {
		return store, err
	}
	if s.opts.Level != state.ReplicateAll && store.Guarantees().Replication == state.ReplicateQuorum {
		return store, nil
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	if err := s.raised(ctx); err != nil {
		return nil, err
	}
	opts := s.storeOptions()
	if s.opts.Level == state.ReplicateAll {
		opts.Level = state.ReplicateAll
	}
	return nats.Open(ctx, s.conn, opts)
}

// raised waits until each stream is to be kept by three nodes, or by all that are
// to keep it if that is when a write is acknowledged. Unless that was asked for,
// it does not wait for ever: a third node may be long in coming.
func (s *Server) raised(ctx context.Context) error {
	if s.opts.Level == "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, raiseWait)
		defer cancel()
	}
	want := 3
	if s.opts.Level == state.ReplicateAll {
		want = s.opts.Replicas
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		streams, err := s.Streams(ctx)
		if err == nil && !slices.ContainsFunc(streams, func(st Stream) bool { return st.Replicas < want }) {
			return nil
		}
		select {
		case <-ctx.Done():
			if s.opts.Level == "" {
				return nil
			}
			return fmt.Errorf("%d nodes do not keep each record yet: start the others: %w", want, ctx.Err())
		case <-tick.C:
		}
	}
}

// storeOptions leave the number of replicas to the node, which raises it.
func (s *Server) storeOptions() nats.Options {
	opts := nats.Options{Durability: state.Synced, Timeout: electionWait, Logger: s.opts.Logger}
	if s.opts.NoSync {
		opts.Durability = state.Buffered
	}
	if s.opts.Replicas == 1 {
		opts.Level = state.ReplicateNone
	}
	if s.opts.Level == state.ReplicateLeader {
		opts.Level, opts.Mirrors = state.ReplicateLeader, s.opts.Mirrors
	}
	return opts
}

// Node is the node that the store runs.
func (s *Store) Node() *Server { return s.node }

// Close closes the store, and then stops the node.
func (s *Store) Close() error { return errors.Join(s.Store.Close(), s.node.Close()) }
