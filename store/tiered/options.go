package tiered

import (
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// DefaultStaleness is what a zero Options.Staleness stands for.
	DefaultStaleness = 5 * time.Second
	// MaxTiers bounds the number of caches.
	MaxTiers = 4
	// MaxNamespaces bounds how many namespaces are cached, the first that are
	// read, since each is watched. Others are read from the store.
	MaxNamespaces = 1024
)

// Options of a Store. Only Tiers is required.
type Options struct {
	// Tiers are the caches, the first one asked first. The Store closes them.
	Tiers []Tier
	// Staleness bounds the age of a copy that is returned, and so how long a
	// write of another process may go unnoticed when its notification is
	// lost. Zero: DefaultStaleness. At least a millisecond.
	Staleness time.Duration
	// Beat is how often the watch of the store below gives a sign of life;
	// after three times as long without one the caches are bypassed. Zero: a
	// fifth of Staleness, but at most a second and at least 10 ms.
	Beat time.Duration
	// Clock tells the time of this process, for tests. Ages are measured with
	// its monotonic reading, where it has one. Nil: time.Now.
	Clock func() time.Time

	// OnLookup hears of every tier that was asked by a Get whether it had the
	// record. Tiers are named "l1", "l2" and so on; the store is the last and
	// at least "l3", so that it has one name with one cache and with two. It
	// is called synchronously and must be quick. Nil: nobody.
	OnLookup func(tier string, hit bool)
	// OnError hears of errors of caches. They do not reach callers. It is
	// called synchronously and must be quick. Nil: nobody.
	OnError func(tier string, err error)
	// OnWatch hears when the caches of a namespace come into use, and when
	// they are bypassed because the watch has failed. It must be quick. Nil:
	// nobody.
	OnWatch func(namespace string, healthy bool)
}

// A Tier is one of the caches before a store.
type Tier struct {
	Cache state.Cache
	// Shared says that other processes fill the cache too. The age of its
	// copies is measured by the store's clock, the one that all of them have
	// in common, and so the bound holds for them as far as that clock is
	// right. Otherwise it is measured by the clock of this process.
	Shared bool
}

// Names returns the names by which OnLookup speaks of the given number of
// caches and of the store behind them.
func Names(caches int) []string {
	var names []string
	for i := range caches {
		names = append(names, fmt.Sprintf("l%d", i+1))
	}
	return append(names, fmt.Sprintf("l%d", max(3, caches+1)))
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Tiers) == 0 || len(o.Tiers) > MaxTiers {
		return o, fmt.Errorf("%d caches before a store: give 1 to %d", len(o.Tiers), MaxTiers)
	}
	for i, t := range o.Tiers {
		if t.Cache == nil {
			return o, fmt.Errorf("cache %d before a store is nil: leave it out", i+1)
		}
	}
	if o.Staleness == 0 {
		o.Staleness = DefaultStaleness
	}
	if o.Staleness < time.Millisecond {
		return o, fmt.Errorf("staleness of %v: must be at least a millisecond", o.Staleness)
	}
	if o.Beat <= 0 {
		o.Beat = max(min(o.Staleness/5, time.Second), 10*time.Millisecond)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.OnLookup == nil {
		o.OnLookup = func(string, bool) {}
	}
	if o.OnError == nil {
		o.OnError = func(string, error) {}
	}
	if o.OnWatch == nil {
		o.OnWatch = func(string, bool) {}
	}
	return o, nil
}
