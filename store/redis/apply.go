package redis

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// wavesOf bounds how many operations are sent at once.
const waveSize = 256

// A step is an operation on its way.
type step struct {
	index   int // in what Apply was given
	key     state.Key
	call    *call
	level   state.Replication
	need    int  // replicas that must confirm it
	others  bool // live records of other tags must be counted first, for a limit
	op      state.Op
	decode  func(s *Store, st *step, r reply) state.Result
	routing byte
}

// Apply implements [state.Store].
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	if err := s.enter(ctx); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer s.leave()
	steps := make([]*step, 0, len(ops))
	for i, op := range ops {
		st, err := s.prepare(op)
		if err != nil {
			results[i].Err = err
			continue
		}
		st.index = i
		steps = append(steps, st)
	}
	for len(steps) > 0 {
		var wave []*step
		wave, steps = nextWave(steps)
		// What was not sent when the context ended is not sent any more.
		if err := ctx.Err(); err != nil {
			fail(results, wave, err)
			continue
		}
		s.send(ctx, wave, results)
	}
	return results
}

// nextWave takes the steps that may be sent together: each ref once at most,
// so that operations on one take effect in the order given. One for which others
// are counted goes alone, since those before it count.
func nextWave(steps []*step) (wave, rest []*step) {
	if len(steps) == 1 {
		return steps, nil
	}
	if steps[0].others {
		return steps[:1], steps[1:]
	}
	taken := make(map[state.Key]bool, min(len(steps), waveSize))
	for _, st := range steps {
		if taken[st.key] || st.others || len(wave) == waveSize {
			rest = append(rest, st)
			taken[st.key] = true // what follows on this ref must wait too
			continue
		}
		taken[st.key] = true
		wave = append(wave, st)
	}
	return wave, rest
}

func fail(results []state.Result, steps []*step, err error) {
	for _, st := range steps {
		results[st.index] = state.Result{Err: err}
	}
}

// send sends a wave and reads the answers.
func (s *Store) send(ctx context.Context, wave []*step, results []state.Result) {
	if wave[0].others {
		if err := s.countOthers(ctx, wave[0]); err != nil {
			fail(results, wave, err)
			return
		}
	}
	if len(wave) == 1 && s.mode != rueidis.ClientModeCluster {
		results[wave[0].index] = s.share(ctx, wave[0])
		return
	}
	var plain []*step
	waiting := make(map[string][]*step)
	for _, st := range wave {
		if s.waits(st.level) {
			group := s.waitGroup(st.key)
			waiting[group] = append(waiting[group], st)
			continue
		}
		plain = append(plain, st)
	}
	if len(plain) > 0 {
		s.finish(plain, s.writeTogether(ctx, plain), results)
	}
	for _, group := range waiting {
		s.finish(group, s.sendAndWait(ctx, group), results)
	}
}

// share sends a step with those of other callers.
func (s *Store) share(ctx context.Context, st *step) state.Result {
	need, err := s.needed(ctx, []*step{st})
	if err != nil {
		return state.Result{Err: err}
	}
	l := &s.lanes.writes
	if need > 0 {
		l = s.lanes.waits[st.level]
	}
	a, sent, err := l.ask(ctx, st)
	switch {
	case err == nil:
		return s.read(st, a)
	case sent:
		return state.Result{Err: writeError(err)}
	}
	return state.Result{Err: fmt.Errorf("wait to write to redis: %w: %w", state.ErrUnavailable, err)}
}

// finish reads the answers to steps.
func (s *Store) finish(steps []*step, answers []answer, results []state.Result) {
	for i, st := range steps {
		results[st.index] = s.read(st, answers[i])
	}
}

func (s *Store) read(st *step, a answer) state.Result {
	if a.unsent != nil {
		return state.Result{Err: a.unsent}
	}
	if a.err != nil {
		return state.Result{Err: writeError(a.err)}
	}
	r, err := s.parseReply(st.routing, a.reply)
	if err != nil {
		return state.Result{Err: err}
	}
	result := st.decode(s, st, r)
	if result.Err == nil && a.short != nil {
		return state.Result{Err: a.short}
	}
	return result
}
