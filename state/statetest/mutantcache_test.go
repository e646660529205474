package statetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A mapCache is the simplest cache that keeps the contract, and in what its
// flags say does not.
type mapCache struct {
	mu         sync.Mutex
	copies     map[state.Key]state.Record
	floors     map[state.Key]uint64
	generation uint64

	broken string
}

func newMapCache(broken string) *mapCache {
	return &mapCache{copies: map[state.Key]state.Record{}, floors: map[state.Key]uint64{}, generation: 1, broken: broken}
}

func (c *mapCache) place(k state.Key) state.Key {
	if c.broken == "ConfoundsNamespaces" {
		k.Namespace = ""
	}
	return k
}

func (c *mapCache) Get(_ context.Context, k state.Key) (state.Record, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.copies[c.place(k)]
	switch {
	case c.broken == "NeverHits":
		return state.Record{}, false, nil
	case c.broken == "LooksAtDeadlines" && r.Expired(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)):
		return state.Record{}, false, nil
	case c.broken == "SharesMaps":
		return r, ok, nil
	}
	return r.Clone(), ok, nil
}

func (c *mapCache) Generation(context.Context) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generation, nil
}

func (c *mapCache) Fill(_ context.Context, r state.Record, generation uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.place(r.Key())
	old, ok := c.copies[k]
	switch {
	case generation < c.generation && c.broken != "IgnoresGenerations",
		r.Revision < c.floors[k] && c.broken != "ForgetsInvalidations",
		c.floors[k] == state.Ended && c.broken != "ForgetsInvalidations",
		ok && old.Revision > r.Revision && c.broken != "LastFillWins",
		ok && old.Revision == r.Revision && c.broken == "FirstOfEqualWins",
		ok && c.broken == "FirstFillWins":
		return nil
	}
	c.copies[k] = r.Clone()
	if c.broken == "SharesMaps" {
		c.copies[k] = r
	}
	return nil
}

func (c *mapCache) Invalidate(_ context.Context, k state.Key, revision uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k = c.place(k)
	if c.broken == "IgnoresInvalidations" {
		return nil
	}
	if c.copies[k].Revision < revision || c.broken == "DropsTheNewer" {
		delete(c.copies, k)
	}
	if revision == state.Ended && c.broken == "ForgetsEnds" {
		delete(c.floors, k)
		return nil
	}
	c.floors[k] = max(c.floors[k], revision)
	if c.broken == "FloorsFall" {
		c.floors[k] = revision
	}
	if len(c.floors) > 100 && c.broken == "ForgetsUnderPressure" {
		clear(c.floors) // without raising the generation
	}
	return nil
}

func (c *mapCache) Clear(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != "ClearsNothing" {
		clear(c.copies)
	}
	clear(c.floors)
	if c.broken != "KeepsItsGeneration" {
		c.generation++
	}
	return nil
}

func (c *mapCache) Close() error { return nil }

func TestRunCacheOnTheSimplestCache(t *testing.T) {
	RunCache(t, func(testing.TB) state.Cache { return newMapCache("") })
}

func TestBrokenCachesAreCaught(t *testing.T) {
	skipShort(t)
	for broken, caught := range map[string][]string{
		"ConfoundsNamespaces":  {"SeparatesKeys"},
		"NeverHits":            {"ReturnsWhatItWasGiven", "DoesNotLookAtDeadlines", "ClearDropsEverything", "InvalidateRefusesLateFills"},
		"LooksAtDeadlines":     {"DoesNotLookAtDeadlines"},
		"SharesMaps":           {"CopiesBelongToTheCaller"},
		"IgnoresGenerations":   {"ClearRefusesFillsFromBefore", "EveryOrderWithClear"},
		"ForgetsInvalidations": {"InvalidateRefusesLateFills", "EndedRefusesAll", "EveryOrderOfFillAndInvalidate", "FillsRaceInvalidates", "RemembersUnderPressure"},
		"LastFillWins":         {"KeepsTheNewer"},
		"FirstFillWins":        {"KeepsTheNewer", "KeepsRemaining"},
		"FirstOfEqualWins":     {"KeepsRemaining"},
		"IgnoresInvalidations": {"InvalidateDropsTheOlder", "EndedRefusesAll", "EveryOrderOfFillAndInvalidate", "FillsRaceInvalidates"},
		"DropsTheNewer":        {"InvalidateKeepsTheNewer"},
		"ForgetsEnds":          {"EndedRefusesAll", "EveryOrderOfFillAndInvalidate", "RemembersUnderPressure"},
		"FloorsFall":           {"EndedRefusesAll"},
		"ForgetsUnderPressure": {"RemembersUnderPressure"},
		"ClearsNothing":        {"ClearDropsEverything", "EveryOrderWithClear", "FillsRaceClears"},
		"KeepsItsGeneration":   {"ClearRaisesTheGeneration", "ClearRefusesFillsFromBefore", "EveryOrderWithClear"},
	} {
		t.Run(broken, func(t *testing.T) {
			for _, name := range caught {
				r := recordCacheCheck(t, name, broken)
				if !r.Failed() {
					t.Errorf("%s did not notice", name)
				}
				t.Logf("%s: %.200s", name, r.text())
			}
		})
	}
}

func recordCacheCheck(t *testing.T, name, broken string) *recorder {
	t.Helper()
	for _, c := range cacheChecks() {
		if c.name == name {
			return record(t, func(tb testing.TB) {
				c.run(newCacheEnv(tb, func(testing.TB) state.Cache { return newMapCache(broken) }))
			})
		}
	}
	t.Fatalf("there is no check %s", name)
	return nil
}
