package statetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An actor takes its steps in order; those of different actors may be taken in
// any order.
type actor struct {
	name  string
	steps []func(w *world)
}

// A world is one key in the cache and in a store that the actors imagine.
type world struct {
	c      *cacheEnv
	key    state.Key
	stored uint64 // the store's revision; state.Ended when the record ended
	floor  uint64 // the cache may not return what is older

	generations map[int]uint64
	copies      map[int]uint64
	trace       []string
}

// reader looks as a reader of a tiered store does: generation, store, Fill.
func reader(id int) actor {
	return actor{fmt.Sprintf("reader %d", id), []func(w *world){
		func(w *world) { w.generations[id] = w.c.generation() },
		func(w *world) { w.copies[id] = w.stored },
		func(w *world) {
			if w.copies[id] != state.Ended { // a record that ended is not found
				w.c.fillFrom(w.c.copyOf(w.key, w.copies[id]), w.generations[id])
			}
		},
	}}
}

// writer changes the record twice and ends it, or only changes it, and
// invalidates each time.
func writer(revisions ...uint64) actor {
	a := actor{name: "writer"}
	for _, revision := range revisions {
		a.steps = append(a.steps,
			func(w *world) { w.stored = revision },
			func(w *world) {
				w.c.invalidate(w.key, revision)
				w.floor = max(w.floor, revision)
			})
	}
	return a
}

// clearer clears: what the store has from then on is the least that may be
// returned.
func clearer() actor {
	return actor{"clearer", []func(w *world){func(w *world) {
		w.c.clear()
		w.floor = max(w.floor, w.stored)
	}}}
}

// silentWriter changes the record without an Invalidate, as one does of whom a
// watch that had a gap does not report.
func silentWriter(revision uint64) actor {
	return actor{"silent writer", []func(w *world){func(w *world) { w.stored = revision }}}
}

// cacheOrders takes the steps of two readers and a writer in every order.
func cacheOrders(c *cacheEnv) {
	c.everyOrder(reader(0), reader(1), writer(2, state.Ended))
	if !testing.Short() {
		c.everyOrder(reader(0), reader(1), writer(2, 3))
	}
}

// cacheOrdersWithClear adds a Clear, with and without a change that nobody
// invalidated.
func cacheOrdersWithClear(c *cacheEnv) {
	c.everyOrder(reader(0), writer(2, state.Ended), clearer())
	c.everyOrder(reader(0), reader(1), silentWriter(2), clearer())
}

// everyOrder plays every interleaving on a key of its own, and looks after each
// step.
func (c *cacheEnv) everyOrder(actors ...actor) {
	c.Helper()
	var order []int
	left := make([]int, len(actors))
	total := 0
	for i, a := range actors {
		left[i] = len(a.steps)
		total += len(a.steps)
	}
	var visit func()
	visit = func() {
		if len(order) == total {
			c.playOrder(actors, order)
			return
		}
		for i := range actors {
			if left[i] == 0 {
				continue
			}
			left[i]--
			order = append(order, i)
			visit()
			order = order[:len(order)-1]
			left[i]++
		}
	}
	visit()
}

func (c *cacheEnv) playOrder(actors []actor, order []int) {
	c.Helper()
	w := &world{c: c, key: c.key(), stored: 1, generations: map[int]uint64{}, copies: map[int]uint64{}}
	next := make([]int, len(actors))
	for _, i := range order {
		actors[i].steps[next[i]](w)
		next[i]++
		w.trace = append(w.trace, actors[i].name)
		if r, ok := c.lookUp(w.key); ok && r.Revision < w.floor {
			c.Fatalf("Get returns revision %d, which is invalid, after steps of: %s", r.Revision, strings.Join(w.trace, ", "))
		}
	}
}
