package state

import "context"

// A Node is one of those on which a store's engine keeps a record.
type Node struct {
	// Name is how the engine names it: its address, mostly.
	Name string `json:"name"`
	// Leader is set of the node that writes go to.
	Leader bool `json:"leader"`
	// Connected says whether it follows the leader at the moment. The leader
	// is.
	Connected bool `json:"connected"`
	// Behind is how much it lacked of what the leader had when it was asked,
	// in the engine's unit: bytes of the log of Redis and PostgreSQL. It is
	// negative if that is not known, as of a node that is not connected.
	Behind int64 `json:"behind"`
}

// ReplicaSets is what a store can say whose engine has several nodes, for those
// who operate it: on which of them a record is. Stores that wrap another have a
// method Unwrap instead.
type ReplicaSets interface {
	// ReplicaSet returns the nodes that have, or would have, the record under
	// a key, the leader first, if there is one at the moment. The record need
	// not be there. It asks the leader: one round trip.
	ReplicaSet(ctx context.Context, key Key) ([]Node, error)
}

// ReplicaSet asks the store, or what it wraps, on which nodes it keeps the
// record under a key. A store that is none of [ReplicaSets] keeps it in one
// place, and the answer is nil.
func ReplicaSet(ctx context.Context, store Store, key Key) ([]Node, error) {
	for store != nil {
		if r, ok := store.(ReplicaSets); ok {
			return r.ReplicaSet(ctx, key)
		}
		w, ok := store.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		store = w.Unwrap()
	}
	return nil, nil
}
