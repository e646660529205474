package redis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

var _ state.ReplicaSets = (*Store)(nil)

// ReplicaSet implements [state.ReplicaSets]: the primary that has the slot of the
// key, and the replicas that are connected to it. Behind is in bytes of the
// replication stream.
func (s *Store) ReplicaSet(ctx context.Context, key state.Key) ([]state.Node, error) {
	if err := state.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	// The first command leads the others to the primary of its key.
	b := s.client.B()
	ask := []rueidis.Completed{
		b.Exists().Key(kindsKey(s.tag(key.Namespace, key.Ref.Routing()))).Build(),
		b.Info().Section("replication").Build(),
	}
	if s.mode == rueidis.ClientModeCluster {
		ask = append(ask, b.ClusterNodes().Build())
	}
	answers := s.client.DoMulti(ctx, ask...)
	text, err := answers[1].ToString()
	if err != nil {
		return nil, readError(err)
	}
	name := s.onlyNode()
	if s.mode == rueidis.ClientModeCluster {
		nodes, err := answers[2].ToString()
		if err != nil {
			return nil, readError(err)
		}
		name = myself(nodes)
	}
	return replicaSet(name, parseInfo(text))
}

// onlyNode is the address of the server, where that is one.
func (s *Store) onlyNode() string {
	for address := range s.client.Nodes() {
		return address
	}
	return ""
}

// myself finds the address of the node that has answered CLUSTER NODES.
func myself(nodes string) string {
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line)
		if len(fields) > 2 && strings.Contains(fields[2], "myself") {
			address, _, _ := strings.Cut(fields[1], "@")
			return address
		}
	}
	return ""
}

// replicaSet reads what a primary says of replication.
func replicaSet(primary string, info map[string]string) ([]state.Node, error) {
	if role := info["role"]; role != "master" {
		return nil, fmt.Errorf("ask redis at %s for its replicas: it is a %s: %w", primary, role, state.ErrUnavailable)
	}
	set := []state.Node{{Name: primary, Leader: true, Connected: true}}
	written, err := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("ask redis at %s for its replicas: no offset: %w", primary, state.ErrUnavailable)
	}
	for i := 0; ; i++ {
		line, ok := info["slave"+strconv.Itoa(i)]
		if !ok {
			return set, nil
		}
		set = append(set, replicaOf(line, written))
	}
}

// replicaOf reads a line such as ip=10.0.0.2,port=6379,state=online,offset=42,lag=0.
func replicaOf(line string, written int64) state.Node {
	fields := map[string]string{}
	for field := range strings.SplitSeq(line, ",") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	n := state.Node{
		Name: net.JoinHostPort(fields["ip"], fields["port"]), Connected: fields["state"] == "online", Behind: -1,
	}
	if offset, err := strconv.ParseInt(fields["offset"], 10, 64); err == nil && n.Connected {
		n.Behind = max(written-offset, 0)
	}
	return n
}
