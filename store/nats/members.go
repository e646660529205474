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

// A Member is a server that follows a stream's leader, as a replica or with a
// mirror.
type Member struct {
	Name    string // of the mirror, while its server does not answer
	Mirror  string // empty: it is a replica
	Current bool   // it has all that the leader has, and is heard from
	Offline bool
	Lag     uint64 // how many operations it is behind, or messages as a mirror
}

// Members asks the leader of each stream who keeps it, and the mirrors how far
// they are.
func (s *Store) Members(ctx context.Context) ([]StreamMembers, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	all := make([]StreamMembers, s.opts.Streams)
	for i := range all {
		info, err := s.infoUnheld(ctx, i)
		if err != nil {
			return nil, err
		}
		all[i] = StreamMembers{Stream: info.Config.Name, Replicas: info.Config.Replicas, Leader: leaderName(&info.StreamInfo)}
		if all[i].Members, err = s.followers(ctx, i, &info.StreamInfo); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// followers are those of whom the leader of a stream has told, and the mirrors.
func (s *Store) followers(ctx context.Context, i int, info *jetstream.StreamInfo) (all []Member, err error) {
	if info.Cluster == nil {
		return nil, nil
	}
	for _, r := range info.Cluster.Replicas {
		all = append(all, Member{Name: r.Name, Current: r.Current, Offline: r.Offline, Lag: r.Lag})
	}
	if info.Config.Replicas > 1 {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	names, err := s.allNames(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range s.listMirrors(i, names) {
		m := Member{Name: name, Mirror: name, Offline: true}
		if mirror, err := s.mirrorInfo(ctx, name); err == nil {
			// It may have got more since than the leader told.
			m.Lag = info.State.LastSeq - min(info.State.LastSeq, mirror.State.LastSeq)
			m.Name, m.Offline, m.Current = leaderName(mirror), false, m.Lag == 0
		}
		all = append(all, m)
	}
	return all, nil
}

var _ state.ReplicaSets = (*Store)(nil)

// ReplicaSet implements [state.ReplicaSets]: the servers that keep the stream of
// the key, the leader first. Behind is in operations of the stream, or in messages
// of a mirror. Connected says that the leader counts a server as current or that it
// catches up, or that a mirror answers; one that does not has its own name, since
// nobody knows that of its server.
func (s *Store) ReplicaSet(ctx context.Context, key state.Key) ([]state.Node, error) {
	if err := state.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	info, err := s.infoUnheld(ctx, s.streamOf(key.Ref.Routing()))
	if err != nil {
		return nil, err
	}
	if info.Cluster == nil || info.Cluster.Leader == "" { // a server that is in no cluster
		return []state.Node{{Name: s.conn.ConnectedServerName(), Leader: true, Connected: true}}, nil
	}
	set := []state.Node{{Name: info.Cluster.Leader, Leader: true, Connected: true}}
	followers, err := s.followers(ctx, s.streamOf(key.Ref.Routing()), &info.StreamInfo)
	for _, r := range followers {
		n := state.Node{Name: r.Name, Connected: !r.Offline, Behind: int64(r.Lag)}
		if r.Offline {
			n.Behind = -1
		}
		set = append(set, n)
	}
	return set, err
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
		info, err := s.infoUnheld(ctx, i)
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
