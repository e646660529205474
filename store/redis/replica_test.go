package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// quickReplicas lets a primary serve its first replica at once.
var quickReplicas = []string{"--repl-diskless-sync-delay", "0"}

func TestDeletesWaitForReplicas(t *testing.T) {
	primary := redisserver.Start(t, quickReplicas...)
	replica := primary.Replica()
	patient := open(t, redis.Options{Addresses: []string{primary.Addr()}, WaitTimeout: time.Minute})
	s := open(t, redis.Options{
		Addresses: []string{primary.Addr()}, WaitTimeout: 100 * time.Millisecond, Writes: state.ReplicateLeader,
	})
	first, second := create(t, s, "alice"), create(t, s, "alice")
	do(t, patient, revocation(first))
	waits := calls(primary, "wait")
	if waits == 0 {
		t.Error("a Delete did not WAIT")
	}

	replica.Suspend()
	defer replica.Resume()
	// What waits for nobody goes on.
	do(t, s, state.TouchOp{Key: second, Idle: time.Hour})
	err := s.Apply(context.Background(), revocation(second))[0].Err
	var below *state.BelowLevelError
	if !errors.As(err, &below) || !errors.Is(err, state.ErrUnknownOutcome) || below.Need != 1 || below.Have != 0 || below.Level != state.ReplicateQuorum {
		t.Fatalf("Delete while the replica is silent: %v", err)
	}
	// The primary has it all the same; repeated, it is still not acknowledged.
	var gone *state.NotFoundError
	if _, err := s.Get(context.Background(), second); !errors.As(err, &gone) || gone.End == nil {
		t.Errorf("Get: %v", err)
	}
	if err := s.Apply(context.Background(), revocation(second))[0].Err; !errors.Is(err, state.ErrUnknownOutcome) {
		t.Errorf("the same Delete again while the replica is silent: %v", err)
	}
	rotate := create(t, s, "bob")
	op := state.UpdateOp{Key: rotate, Version: 1, Rotate: &state.Rotation{Hash: state.Hash{9}}}
	if err := s.Apply(context.Background(), op)[0].Err; !errors.Is(err, state.ErrUnknownOutcome) {
		t.Errorf("Update with a Rotation while the replica is silent: %v", err)
	}
	replica.Resume()
	eventually(t, "acknowledge the Delete", func() error {
		return s.Apply(context.Background(), revocation(second))[0].Err
	})
}

// calls returns how often the server was given a command.
func calls(s *redisserver.Server, command string) int {
	var n int
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			_, _ = fmt.Sscanf(rest, "%d", &n)
		}
	}
	return n
}

func TestLevelsSayHowManyReplicasToWaitFor(t *testing.T) {
	primary := redisserver.Start(t, quickReplicas...)
	primary.Replica()
	silent := primary.Replica()
	silent.Suspend()
	defer silent.Resume()
	for name, c := range map[string]struct {
		opts redis.Options
		ok   bool
	}{
		"quorum is the default":             {redis.Options{}, true},
		"quorum of two replicas is one":     {redis.Options{Replication: state.ReplicateQuorum}, true},
		"all are both":                      {redis.Options{Replication: state.ReplicateAll}, false},
		"none waits for none":               {redis.Options{Replication: state.ReplicateNone}, true},
		"writes may have their own":         {redis.Options{Replication: state.ReplicateAll, Writes: state.ReplicateQuorum}, true},
		"leader waits for none":             {redis.Options{Writes: state.ReplicateLeader}, true},
		"quorum of four replicas is two":    {redis.Options{Writes: state.ReplicateQuorum, Replicas: 4}, false},
		"replicas that are missing, leader": {redis.Options{Writes: state.ReplicateLeader, Replicas: 9}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.opts.Addresses, c.opts.WaitTimeout = []string{primary.Addr()}, 200*time.Millisecond
			if c.ok {
				c.opts.WaitTimeout = time.Minute // a replica may be slow, not silent
			}
			s := open(t, c.opts)
			err := s.Apply(context.Background(), creation(newKey(t, 1), "alice"))[0].Err
			if c.ok && err != nil || !c.ok && !errors.Is(err, state.ErrBelowLevel) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWithoutReplicasNothingWaits(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	do(t, s, revocation(create(t, s, "alice")))
	if n := calls(server, "wait"); n != 0 {
		t.Errorf("%d WAIT without a replica", n)
	}
}

// A failover is what clients saw of one.
type failover struct {
	acknowledged, lost, resurrected int
	gap                             time.Duration
}

// runFailover writes until the primary has been replaced by promote, and then
// looks what became of acknowledged writes.
func runFailover(t *testing.T, s state.Store, promote func()) failover {
	t.Helper()
	l := &tolerant{s: s, stop: make(chan struct{})}
	for i := range 8 {
		l.wg.Go(func() { l.write(t, byte(i*37)) })
	}
	await(t, "writes", &l.done, 400)
	began := time.Now()
	promote()
	before := l.done.Load()
	await(t, "writes after the failover", &l.done, before+200)
	f := failover{gap: time.Since(began)}
	close(l.stop)
	l.wg.Wait()
	f.acknowledged, f.lost = int(l.done.Load()), int(l.lost.Load())
	for _, key := range l.deleted {
		if _, err := s.Get(within(t, 5*time.Second), key); err == nil {
			f.resurrected++
		}
	}
	return f
}

// tolerant writers count what a failover loses.
type tolerant struct {
	s          state.Store
	stop       chan struct{}
	wg         sync.WaitGroup
	done, lost atomic.Int64
	mu         sync.Mutex // guards deleted
	deleted    []state.Key
}

func (l *tolerant) write(t testing.TB, routing byte) {
	key, version := newKey(t, routing), uint64(0)
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		if version == 0 {
			if l.apply(creation(key, "owner")) == nil {
				version = 1
			} else {
				key = newKey(t, routing)
			}
			continue
		}
		err := l.apply(state.UpdateOp{Key: key, Version: version, Data: data(n), ID: newID()})
		switch {
		case err == nil:
			version++
		case errors.Is(err, state.ErrNotFound):
			l.lost.Add(int64(version))
			key, version = newKey(t, routing), 0
		case errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrUnknownOutcome):
			version = l.resync(t, key, version)
		}
		if n%3 == 0 {
			guest := newKey(t, routing)
			if l.apply(creation(guest, "guest")) == nil && l.apply(revocation(guest)) == nil {
				l.mu.Lock()
				l.deleted = append(l.deleted, guest)
				l.mu.Unlock()
			}
		}
	}
}

// resync reads the version that is there, and counts what is missing.
func (l *tolerant) resync(t testing.TB, key state.Key, version uint64) uint64 {
	for start := time.Now(); time.Since(start) < patience; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		r, err := l.s.Get(ctx, key)
		cancel()
		if err == nil {
			if r.Version < version {
				l.lost.Add(int64(version - r.Version))
			}
			return r.Version
		}
		if errors.Is(err, state.ErrNotFound) {
			return version // the next update notices
		}
	}
	t.Errorf("no read within %v", patience)
	return version
}

func (l *tolerant) apply(op state.Op) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := state.Do(ctx, l.s, op)
	if err == nil {
		l.done.Add(1)
	}
	return err
}

// What a failover loses is measured, since no level promises that nothing is.
func TestSentinelFailover(t *testing.T) {
	for _, level := range []state.Replication{state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
		t.Run(string(level), func(t *testing.T) { sentinelFailover(t, level) })
	}
}

func sentinelFailover(t *testing.T, level state.Replication) {
	set := redisserver.StartSentinels(t, 2, quickReplicas...)
	s := open(t, redis.Options{Addresses: set.Addrs(), Master: redisserver.MasterSet, Replication: level})
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test", Beat: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	gap := make(chan bool, 1)
	go func() { gap <- gapBefore(changes, "marker") }()
	var primary *redisserver.Server
	f := runFailover(t, s, func() {
		set.Primary.Kill()
		primary = set.AwaitSwitch(set.Primary)
	})
	t.Logf("failover by sentinels, %s: %d writes acknowledged, %d lost, %d acknowledged deletes came back, %v without writes",
		level, f.acknowledged, f.lost, f.resurrected, f.gap.Round(time.Millisecond))
	if level == state.ReplicateAll && f.resurrected > 0 {
		t.Errorf("%d deletes that every replica had confirmed came back", f.resurrected)
	}
	awaitMarker(t, s, gap)
	checkConsistency(t, primary.Addr())
}

// awaitMarker makes changes until one has been heard. Those from before the
// watch had found the new primary are said by its Gap.
func awaitMarker(t *testing.T, s state.Store, gap <-chan bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		marker := creation(newKey(t, 3), "m")
		marker.Record.Kind = "marker"
		do(t, s, marker)
		select {
		case seen := <-gap:
			if !seen {
				t.Error("the watch had no gap in spite of a failover")
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Error("the watch does not go on after a failover")
}

// gapBefore reads changes up to one of the kind, and reports whether there was
// a Gap.
func gapBefore(changes <-chan state.Change, kind string) (gap bool) {
	for c := range changes {
		gap = gap || c.Type == state.Gap
		if c.Kind == kind {
			break
		}
	}
	return gap
}

func TestClusterFailover(t *testing.T) {
	cluster := redisserver.StartCluster(t, 3, true)
	s := open(t, redis.Options{Addresses: cluster.Addrs()})
	f := runFailover(t, s, func() {
		cluster.Masters[0].Kill()
		cluster.AwaitPromotion(0)
	})
	t.Logf("failover in a cluster: %d writes acknowledged, %d lost, %d of the deletes that the replica had confirmed came back, %v without all slots",
		f.acknowledged, f.lost, f.resurrected, f.gap.Round(time.Millisecond))
	// Its only replica is the one that was promoted.
	if f.resurrected > 0 {
		t.Errorf("%d deletes that the promoted replica had confirmed came back", f.resurrected)
	}
	checkConsistency(t, cluster.Replicas[0].Addr(), cluster.Masters[1].Addr(), cluster.Masters[2].Addr())
}
