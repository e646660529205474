package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
			w := startWitness(s)
			await(t, "acknowledged writes", &w.done, 300)
			primary.Kill()
			if level == state.ReplicateAll {
				other.Kill()
			}
			w.finish()
			heir.Do("REPLICAOF", "NO", "ONE")
			after := open(t, redis.Options{Addresses: []string{heir.Addr()}, Replication: state.ReplicateNone})
			w.check(t, after)
			checkConsistency(t, heir.Addr())
		})
	}
}

// A witness writes and remembers what was acknowledged.
type witness struct {
	s    state.Store
	stop chan struct{}
	wg   sync.WaitGroup
	done atomic.Int64

	mu      sync.Mutex // guards both below
	version map[state.Key]uint64
	deleted []state.Key
}

func startWitness(s state.Store) *witness {
	w := &witness{s: s, stop: make(chan struct{}), version: make(map[state.Key]uint64)}
	for i := range 8 {
		w.wg.Go(func() { w.write(byte(i * 31)) })
	}
	return w
}

// write works on records that nobody else does, until an error comes.
func (w *witness) write(routing byte) {
	for {
		ref, err := state.NewRef(routing, rand.Reader)
		if err != nil {
			return
		}
		key := state.Key{Namespace: "test", Ref: ref}
		if !w.apply(creation(key, "alice"), func() { w.version[key] = 1 }) {
			return
		}
		for v := uint64(1); v < 4; v++ {
			if !w.apply(state.UpdateOp{Key: key, Version: v, Data: data(int(v))}, func() { w.version[key] = v + 1 }) {
				return
			}
		}
		if routing%2 == 0 {
			continue
		}
		w.mu.Lock()
		delete(w.version, key) // unknown from here on
		w.mu.Unlock()
		if !w.apply(revocation(key), func() { w.deleted = append(w.deleted, key) }) {
			return
		}
	}
}

func (w *witness) apply(op state.Op, acknowledged func()) bool {
	select {
	case <-w.stop:
		return false
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := state.Do(ctx, w.s, op); err != nil {
		return false
	}
	w.mu.Lock()
	acknowledged()
	w.mu.Unlock()
	w.done.Add(1)
	return true
}

func (w *witness) finish() {
	close(w.stop)
	w.wg.Wait()
}

// check looks whether all that was acknowledged is there.
func (w *witness) check(t *testing.T, s state.Store) {
	t.Helper()
	for key, version := range w.version {
		if r, err := s.Get(within(t, patience), key); err != nil || r.Version < version {
			t.Errorf("version %d was acknowledged; got version %d, %v", version, r.Version, err)
		}
	}
	for _, key := range w.deleted {
		if _, err := s.Get(within(t, patience), key); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("a deletion was acknowledged; got %v", err)
		}
	}
	t.Logf("%d records and %d deletions are as acknowledged", len(w.version), len(w.deleted))
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
