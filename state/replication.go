package state

import "fmt"

// A Replication is a promise about when a write is acknowledged, by a store
// whose engine keeps copies on several nodes. What each level loses when is
// said by the store and in docs/guarantees.md. The zero value stands for the
// store's default: [ReplicateQuorum] where the engine has replicas.
//
// A write that cannot reach its level within its deadline is
// [ErrBelowLevel]; one of which it is known beforehand, and which is therefore
// not written, is [ErrUnavailable].
type Replication string

const (
	// ReplicateNone: the node that is asked has the write; there need be no
	// other.
	ReplicateNone Replication = "none"
	// ReplicateLeader: the leader has the write, and its followers get it
	// afterwards.
	ReplicateLeader Replication = "leader"
	// ReplicateQuorum: a majority of all nodes has the write, the leader
	// included.
	ReplicateQuorum Replication = "quorum"
	// ReplicateAll: every node has the write.
	ReplicateAll Replication = "all"
)

// ParseReplication reads a level. Anything else, the empty text too, is
// [ErrInvalid].
func ParseReplication(text string) (Replication, error) {
	switch r := Replication(text); r {
	case ReplicateNone, ReplicateLeader, ReplicateQuorum, ReplicateAll:
		return r, nil
	}
	return "", &InvalidError{What: "replication", Why: fmt.Sprintf("%q is none of none, leader, quorum and all", text)}
}

// Followers returns how many of n followers must have a write, besides the
// leader, before it is acknowledged. The zero value asks for none.
func (r Replication) Followers(n int) int {
	switch r {
	case ReplicateQuorum:
		return (n + 1) / 2
	case ReplicateAll:
		return n
	}
	return 0
}
