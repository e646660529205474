package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// replicaCounts remembers how many replicas primaries have, for a moment.
type replicaCounts struct {
	mu sync.Mutex // guards of
	of map[string]replicaCount
}

type replicaCount struct {
	n     int
	until time.Time
}

// countFor is how long a number of replicas is believed.
const countFor = time.Second

// waits reports whether a level may ask for replicas.
func (s *Store) waits(l state.Replication) bool {
	return l == state.ReplicateQuorum || l == state.ReplicateAll
}

// waitGroup names what may be sent on one connection: with a cluster the keys
// of one slot.
func (s *Store) waitGroup(key state.Key) string {
	if s.mode != rueidis.ClientModeCluster {
		return ""
	}
	return s.tag(key.Namespace, key.Ref.Routing())
}

// sendAndWait sends steps of one group and waits until replicas have them. If
// there are none to wait for it is like any other.
func (s *Store) sendAndWait(ctx context.Context, group []*step) []answer {
	need, err := s.needed(ctx, group)
	if err != nil {
		return unsent(group, err)
	}
	if need == 0 {
		return s.writeTogether(ctx, group)
	}
	release, err := s.admit(ctx)
	if err != nil {
		return unsent(group, err)
	}
	defer release()
	return s.waitTogether(ctx, group)
}

// unsent answers what could not be sent.
func unsent(group []*step, err error) []answer {
	answers := make([]answer, len(group))
	for i := range answers {
		answers[i].unsent = err
	}
	return answers
}

// admit waits for a connection of the pool: those who wait for replicas have
// one each.
func (s *Store) admit(ctx context.Context) (release func(), err error) {
	if err := s.lend(ctx); err != nil {
		return nil, err
	}
	return func() { s.lent.Release(1) }, nil
}

// waitTogether makes the round trip of several writes that wait for replicas.
// A connection of the pool has been lent.
func (s *Store) waitTogether(ctx context.Context, group []*step) []answer {
	need := 0
	for _, st := range group {
		need = max(need, st.need)
	}
	b := s.bundle(group)
	var waited rueidis.RedisResult
	// The wait travels with the writes and is for all of the connection, so
	// it is the client that keeps them together, on one of its own.
	results := s.runBy(b.calls, func(cmds []rueidis.Completed) []rueidis.RedisResult {
		wait := s.client.B().Wait().Numreplicas(int64(need)).Timeout(s.opts.WaitTimeout.Milliseconds()).Build()
		all := s.client.DoMulti(ctx, append(cmds, wait)...)
		waited = all[len(cmds)]
		return all[:len(cmds)]
	})
	have, err := waited.AsInt64()
	answers := b.answers(results)
	for i, st := range group {
		if err != nil || have < int64(st.need) {
			answers[i].short = notReplicated(have, st, err)
		}
	}
	return answers
}

func notReplicated(have int64, st *step, err error) error {
	if err != nil {
		return writeError(err)
	}
	return fmt.Errorf("write to redis: %w", &state.BelowLevelError{Level: st.level, Have: int(have), Need: st.need})
}

// needed finds out how many replicas each step of a group needs, and returns the
// most.
func (s *Store) needed(ctx context.Context, group []*step) (int, error) {
	most := 0
	for _, st := range group {
		if !s.waits(st.level) {
			continue
		}
		n := s.opts.Replicas
		if n == 0 {
			var err error
			if n, err = s.countReplicas(ctx, st.key); err != nil {
				return 0, err
			}
		}
		st.need = st.level.Followers(n)
		most = max(most, st.need)
	}
	return most, nil
}

// countReplicas returns how many replicas the primary of a key has.
func (s *Store) countReplicas(ctx context.Context, key state.Key) (int, error) {
	group := s.waitGroup(key)
	s.replicas.mu.Lock()
	known := s.replicas.of[group]
	s.replicas.mu.Unlock()
	if time.Now().Before(known.until) {
		return known.n, nil
	}
	// The first command leads both to the primary of its key.
	b := s.client.B()
	r := s.client.DoMulti(ctx, b.Exists().Key(kindsKey(s.tag(key.Namespace, key.Ref.Routing()))).Build(),
		b.Info().Section("replication").Build())[1]
	text, err := r.ToString()
	if err != nil {
		return 0, readError(err) // nothing was written yet
	}
	n, err := strconv.Atoi(parseInfo(text)["connected_slaves"])
	if err != nil {
		return 0, fmt.Errorf("count the replicas of redis: %w", state.ErrUnavailable)
	}
	s.replicas.mu.Lock()
	defer s.replicas.mu.Unlock()
	if s.replicas.of == nil || len(s.replicas.of) > 1024 {
		s.replicas.of = make(map[string]replicaCount)
	}
	s.replicas.of[group] = replicaCount{n: n, until: time.Now().Add(countFor)}
	return n, nil
}
