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
func (s *Store) waits(l Level) bool { return l != Leader }

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
func (s *Store) sendAndWait(ctx context.Context, group []*step, results []state.Result) {
	need, err := s.needed(ctx, group)
	if err != nil {
		fail(results, group, err)
		return
	}
	if need == 0 {
		s.finish(group, s.run(ctx, callsOf(group)), results)
		return
	}
	if err := s.lend(ctx); err != nil {
		fail(results, group, err)
		return
	}
	defer s.lent.Release(1)
	var waited rueidis.RedisResult
	// The wait travels with the writes and is for all of the connection, so
	// it is the client that keeps them together, on one of its own.
	answers := s.runBy(callsOf(group), func(cmds []rueidis.Completed) []rueidis.RedisResult {
		wait := s.client.B().Wait().Numreplicas(int64(need)).Timeout(s.opts.WaitTimeout.Milliseconds()).Build()
		all := s.client.DoMulti(ctx, append(cmds, wait)...)
		waited = all[len(cmds)]
		return all[:len(cmds)]
	})
	s.finish(group, answers, results)
	have, err := waited.AsInt64()
	if err == nil && have >= int64(need) {
		return
	}
	for _, st := range group {
		if results[st.index].Err == nil {
			results[st.index] = state.Result{Err: notReplicated(have, need, err)}
		}
	}
}

func notReplicated(have int64, need int, err error) error {
	if err != nil {
		return writeError(err)
	}
	return fmt.Errorf("write to redis: %w: on the primary, but %d of %d replicas confirmed it in time",
		state.ErrUnknownOutcome, have, need)
}

// needed returns how many replicas a group needs: what the strictest of its
// steps does.
func (s *Store) needed(ctx context.Context, group []*step) (int, error) {
	n := s.opts.Replicas
	if n == 0 {
		var err error
		if n, err = s.countReplicas(ctx, group[0].key); err != nil {
			return 0, err
		}
	}
	need := 0
	for _, st := range group {
		need = max(need, st.level.replicas(n))
	}
	return need, nil
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
