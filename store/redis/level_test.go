package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// What a level promises is there when as many nodes are killed as it names: of
// a primary with two replicas, one with quorum, two with all.
func TestAcknowledgedWritesSurviveWhatTheirLevelNames(t *testing.T) {
	for _, level := range []state.Replication{state.ReplicateQuorum, state.ReplicateAll} {
		t.Run(string(level), func(t *testing.T) {
			primary := redisserver.Start(t, quickReplicas...)
			heir, other := primary.Replica(), primary.Replica()
			if level == state.ReplicateQuorum {
				// Whatever is confirmed is so by the heir.
				other.Suspend()
			}
			s := open(t, redis.Options{
				Addresses: []string{primary.Addr()}, Replication: level, Replicas: 2, WaitTimeout: time.Minute,
			})
			w := history.StartWitness(s)
			await(t, "acknowledged writes", &w.Done, 300)
			primary.Kill()
			if level == state.ReplicateAll {
				other.Kill()
			}
			w.Finish()
			heir.Do("REPLICAOF", "NO", "ONE")
			after := open(t, redis.Options{Addresses: []string{heir.Addr()}, Replication: state.ReplicateNone})
			w.Check(t, func(key state.Key) (state.Record, error) { return after.Get(within(t, patience), key) })
			checkConsistency(t, heir.Addr())
		})
	}
}

// What is left of the risk, which no level but all takes away: somebody promotes
// a replica that was behind, and what it had not heard of is undone. With all, a
// deletion is not acknowledged while a replica is behind.
func TestPromotedReplicaThatWasBehindUndoesWhatItMissed(t *testing.T) {
	for level, acknowledged := range map[state.Replication]bool{
		state.ReplicateNone: true, state.ReplicateLeader: true, state.ReplicateQuorum: true, state.ReplicateAll: false,
	} {
		t.Run(string(level), func(t *testing.T) {
			primary := redisserver.Start(t, quickReplicas...)
			primary.Replica()
			behind := primary.Replica()
			patient := open(t, redis.Options{
				Addresses: []string{primary.Addr()}, Replication: state.ReplicateAll, Replicas: 2, WaitTimeout: time.Minute,
			})
			key := create(t, patient, "alice")
			behind.Do("REPLICAOF", "NO", "ONE") // it hears no more
			wait := time.Minute
			if !acknowledged {
				wait = 200 * time.Millisecond
			}
			s := open(t, redis.Options{
				Addresses: []string{primary.Addr()}, Replication: level, Replicas: 2, WaitTimeout: wait,
			})
			err := s.Apply(context.Background(), revocation(key))[0].Err
			if acknowledged && err != nil || !acknowledged && !errors.Is(err, state.ErrBelowLevel) {
				t.Fatalf("Delete: %v", err)
			}
			primary.Kill()
			_, err = open(t, redis.Options{Addresses: []string{behind.Addr()}}).Get(within(t, patience), key)
			if err != nil {
				t.Errorf("the deletion that it missed is in force: %v; then this level promises more than it says", err)
			}
			checkConsistency(t, behind.Addr())
		})
	}
}
