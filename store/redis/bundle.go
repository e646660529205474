package redis

import (
	"slices"

	"github.com/redis/rueidis"
)

// updatesAtOnce bounds the updates in one script: enough to share what it costs
// to begin one, and few enough not to keep others waiting.
const updatesAtOnce = 32

// A bundle is several steps as calls. Updates, which are the most, are several
// to a call: their script costs as much to begin as to run.
type bundle struct {
	calls []*call
	steps [][]int // of each call, by their place
}

// bundle puts steps together. In a cluster each is by itself, since a script is
// for one slot.
func (s *Store) bundle(steps []*step) bundle {
	var b bundle
	var updates []int
	together := len(steps) > 1 && s.mode != rueidis.ClientModeCluster
	for i, st := range steps {
		if together && st.call.script == s.scripts.update {
			updates = append(updates, i)
			continue
		}
		b.calls, b.steps = append(b.calls, st.call), append(b.steps, []int{i})
	}
	for places := range slices.Chunk(updates, updatesAtOnce) {
		b.calls, b.steps = append(b.calls, s.updatesCall(steps, places)), append(b.steps, places)
	}
	return b
}

// updatesCall makes one call of several updates.
func (s *Store) updatesCall(steps []*step, places []int) *call {
	if len(places) == 1 {
		return steps[places[0]].call
	}
	c := &call{
		script: s.scripts.updates,
		keys:   make([]string, 0, 2*len(places)),
		args:   append(make([]string, 0, 1+4*len(places)), ""),
	}
	for _, i := range places {
		one := steps[i].call
		c.keys = append(c.keys, one.keys...)
		c.args[0] = later(c.args[0], one.args[0])
		c.args = append(c.args, one.args[1:]...)
	}
	return c
}

// later returns the later of two times in decimal digits.
func later(a, b string) string {
	if len(a) > len(b) || len(a) == len(b) && a > b {
		return a
	}
	return b
}

// answers shares out what the calls were answered.
func (b *bundle) answers(results []rueidis.RedisResult) []answer {
	n := 0
	for _, places := range b.steps {
		n += len(places)
	}
	answers := make([]answer, n)
	for c, result := range results {
		if places := b.steps[c]; len(places) > 1 {
			shareOut(answers, places, result)
		} else {
			answers[places[0]].reply, answers[places[0]].err = result.AsBytes()
		}
	}
	return answers
}

// shareOut gives each of several updates its part of the answer.
func shareOut(answers []answer, places []int, result rueidis.RedisResult) {
	replies, err := result.ToArray()
	if err == nil && len(replies) != len(places) {
		err = errReplies
	}
	for i, place := range places {
		if err != nil {
			answers[place].err = err
			continue
		}
		answers[place].reply, answers[place].err = replies[i].AsBytes()
	}
}
