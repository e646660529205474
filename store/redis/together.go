package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A server that holds all keys is asked by several callers at once: one MGET
// and one TIME for their reads, one round trip for their writes, and where
// those wait for replicas one wait. A cluster has them in different places.
const (
	// flightsAtOnce: two, so that the server works on one while the client
	// does on the other, and no more callers than keep both of them busy.
	flightsAtOnce, flightSize = 2, 32
	// waitsAtOnce is more, since those mostly wait.
	waitsAtOnce, waitSize = 4, 64
)

// lanes are those of a store.
type lanes struct {
	reads  lane[string, value]
	writes lane[*step, answer]
	// waits are those of writes that wait for replicas, by level.
	waits map[state.Replication]*lane[*step, answer]
}

// A value is what stands under a name, and the server's time, read after it.
type value struct {
	message rueidis.RedisMessage
	now     time.Time
	err     error
}

// An answer is what a write was answered.
type answer struct {
	reply  []byte
	err    error // the client's
	unsent error // why nothing was sent
	short  error // which replicas are missing from a write that was done
}

func (s *Store) openLanes() {
	s.lanes.reads = lane[string, value]{
		fly: s.readTogether, weigh: func(string) int { return 0 }, atOnce: flightsAtOnce, most: flightSize, queued: true, pumps: &s.pumps,
	}
	s.lanes.writes = lane[*step, answer]{
		fly: s.writeTogether, weigh: (*step).bytes, atOnce: flightsAtOnce, most: flightSize, queued: true, pumps: &s.pumps,
	}
	s.lanes.waits = make(map[state.Replication]*lane[*step, answer])
	for _, level := range []state.Replication{state.ReplicateQuorum, state.ReplicateAll} {
		s.lanes.waits[level] = &lane[*step, answer]{
			fly: s.waitTogether, admit: s.admit, life: s.ctx,
			weigh: (*step).bytes, atOnce: waitsAtOnce, most: waitSize, pumps: &s.pumps,
		}
	}
}

// bytes is about how much a step has to send.
func (st *step) bytes() int {
	n := 0
	for _, arg := range st.call.args {
		n += len(arg)
	}
	return n
}

// readTogether makes the round trip of several reads.
func (s *Store) readTogether(ctx context.Context, names []string) []value {
	values := make([]value, len(names))
	for try := 0; ; try++ {
		c := s.client.B()
		results := s.client.DoMulti(ctx, c.Mget().Key(names...).Build(), c.Time().Build())
		messages, err := results[0].ToArray()
		var now time.Time
		if err == nil {
			now, err = s.timeOf(results[1])
		}
		if try == 0 && broken(ctx, err) {
			continue
		}
		for i := range values {
			values[i] = value{now: now, err: err}
			if err == nil {
				values[i].message = messages[i]
			}
		}
		return values
	}
}

// writeTogether makes the round trip of several writes.
func (s *Store) writeTogether(ctx context.Context, steps []*step) []answer {
	b := s.bundle(steps)
	return b.answers(s.run(ctx, b.calls))
}
