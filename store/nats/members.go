package nats

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A StreamMembers says which servers keep a stream.
type StreamMembers struct {
	Stream   string
	Leader   string // empty: none, or a server that is in no cluster
	Replicas int    // how many there are to be
	Members  []Member
}

// A Member is a server that follows a stream's leader.
type Member struct {
	Name    string
	Current bool // it has all that the leader has, and is heard from
	Offline bool
	Lag     uint64 // how many operations it is behind
}

// Members asks the leader of each stream who keeps it.
func (s *Store) Members(ctx context.Context) ([]StreamMembers, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	all := make([]StreamMembers, s.opts.Streams)
	for i := range all {
		info, err := s.info(ctx, i, "", 0)
		if err != nil {
			return nil, err
		}
		m := StreamMembers{Stream: s.streamName(i), Replicas: info.Config.Replicas}
		if info.Cluster != nil {
			m.Leader = info.Cluster.Leader
			for _, r := range info.Cluster.Replicas {
				m.Members = append(m.Members, Member{Name: r.Name, Current: r.Current, Offline: r.Offline, Lag: r.Lag})
			}
		}
		all[i] = m
	}
	return all, nil
}

var _ state.ReplicaSets = (*Store)(nil)

// ReplicaSet implements [state.ReplicaSets]: the servers that keep the stream of
// the key, the leader first. Behind is in operations of the stream. Connected
// says that the leader counts a server as current or that it catches up.
func (s *Store) ReplicaSet(ctx context.Context, key state.Key) ([]state.Node, error) {
	if err := state.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	info, err := s.info(ctx, s.streamOf(key.Ref.Routing()), "", 0)
	if err != nil {
		return nil, err
	}
	if info.Cluster == nil || info.Cluster.Leader == "" { // a server that is in no cluster
		return []state.Node{{Name: s.conn.ConnectedServerName(), Leader: true, Connected: true}}, nil
	}
	set := []state.Node{{Name: info.Cluster.Leader, Leader: true, Connected: true}}
	for _, r := range info.Cluster.Replicas {
		n := state.Node{Name: r.Name, Connected: !r.Offline, Behind: int64(r.Lag)}
		if r.Offline {
			n.Behind = -1
		}
		set = append(set, n)
	}
	return set, nil
}

// SetReplicas changes on how many servers each stream is kept. It returns when
// the streams are told; Members says when the new replicas have caught up. What
// [Store.Guarantees] says changes when the store is opened again.
func (s *Store) SetReplicas(ctx context.Context, n int) error {
	if n < 1 || n > 5 {
		return invalid("replicas", "must be from 1 to 5")
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for i := range s.opts.Streams {
		var config jetstream.StreamConfig
		info, err := s.info(ctx, i, "", 0)
		if err != nil {
			return err
		}
		config = info.Config
		config.Replicas = n
		if _, err := s.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("set the replicas of stream %s: %w", config.Name, err)
		}
	}
	return nil
}
