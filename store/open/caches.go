package open

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/store/cache"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// Caches are what stands before a store. Use [ParseCaches] to make one; the
// zero value is none. However it is printed, it shows only where they are.
type Caches struct{ list []cacheSpec }

// A cacheSpec is a cache in the process, or one in Redis.
type cacheSpec struct {
	bytes int64  // of one in the process; else 0
	text  string // the URL of one in Redis, as it was given
	shown string // without what may be secret
}

// cacheForms are what to write instead of what names no caches.
const cacheForms = "write l1=64MiB, or l1=64MiB,l2=redis://HOST:6379"

// ParseCaches reads what --cache takes: tiers with commas between them, each
// its name and a size, for a cache in this process, or the URL of a Redis. The
// first tier is l1, and of those in the process there is one at most, which is
// asked first. It reaches out to nothing, and its errors repeat no URL.
func ParseCaches(text string) (Caches, error) {
	var c Caches
	for i, part := range splitTiers(text) {
		name, value, _ := strings.Cut(part, "=")
		if want := fmt.Sprintf("l%d", i+1); name != want {
			return Caches{}, fmt.Errorf("tier %d is to be named %s: %s", i+1, want, cacheForms)
		}
		spec, err := parseCache(value)
		if err != nil {
			return Caches{}, fmt.Errorf("%s: %w", name, err)
		}
		if i > 0 && spec.bytes > 0 {
			return Caches{}, fmt.Errorf("%s: only the first tier can be in the process: %s", name, cacheForms)
		}
		c.list = append(c.list, spec)
	}
	switch n := len(c.list); {
	case n == 0:
		return Caches{}, errors.New("there is no tier: " + cacheForms)
	case n > maxTiers:
		return Caches{}, fmt.Errorf("%d tiers are too many: %s", n, cacheForms)
	}
	return c, nil
}

// maxTiers is as many as have a sense: one in the process, one that processes
// share.
const maxTiers = 2

// splitTiers splits at the commas before a name of a tier. Others may be part
// of a URL.
func splitTiers(text string) []string {
	var tiers []string
	for part := range strings.SplitSeq(text, ",") {
		name, _, found := strings.Cut(part, "=")
		if len(tiers) == 0 || found && len(name) == 2 && name[0] == 'l' {
			tiers = append(tiers, part)
			continue
		}
		tiers[len(tiers)-1] += "," + part
	}
	if text == "" {
		return nil
	}
	return tiers
}

func parseCache(value string) (cacheSpec, error) {
	if scheme, _, isURL := strings.Cut(value, ":"); isURL {
		if scheme != "redis" && scheme != "rediss" {
			return cacheSpec{}, errors.New("a cache is in the process or in Redis: " + cacheForms)
		}
		u, err := parseRedis(value)
		return cacheSpec{text: value, shown: u.shown}, err
	}
	n, err := ParseSize(value)
	return cacheSpec{bytes: n, shown: value}, err
}

// ParseSize reads a number of bytes: 512KiB, 64MiB, 1GiB, or without a unit.
// KB, MB and GB are powers of ten.
func ParseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "BKMGbkmgi")
	unit, known := map[string]int64{
		"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 1e3, "mb": 1e6, "gb": 1e9,
	}[strings.ToLower(text[len(number):])]
	n, err := strconv.ParseInt(number, 10, 64)
	if !known || err != nil || n <= 0 || n > maxSize/unit {
		return 0, fmt.Errorf("%q is no size: write one such as 64MiB", text)
	}
	return n * unit, nil
}

// maxSize is more than any machine has.
const maxSize = 1 << 50

// Len is the number of tiers.
func (c Caches) Len() int { return len(c.list) }

// String says where the caches are, without user, password and parameters.
func (c Caches) String() string {
	var parts []string
	for i, spec := range c.list {
		parts = append(parts, fmt.Sprintf("l%d=%s", i+1, spec.shown))
	}
	return strings.Join(parts, ",")
}

// Format implements [fmt.Formatter], so that no verb shows more than String.
func (c Caches) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// Tiers are the names by which [Options.OnLookup] speaks of the caches and of
// the store behind them. A SQLite store without caches has one of its own.
func (c Caches) Tiers() []string {
	if c.Len() == 0 {
		return []string{ownCache}
	}
	return tiered.Names(c.Len())
}

// ownCache is the name of SQLite's own.
const ownCache = "l1"

// open makes the caches, which keep nothing for longer than staleness if they
// are shared. If one cannot be made, none is left open.
func (c Caches) open(ctx context.Context, staleness time.Duration) ([]tiered.Tier, error) {
	var tiers []tiered.Tier
	for i, spec := range c.list {
		t, err := spec.open(ctx, staleness)
		if err != nil {
			closeAll(tiers)
			return nil, fmt.Errorf("open cache l%d=%s: %w", i+1, spec.shown, err)
		}
		tiers = append(tiers, t)
	}
	return tiers, nil
}

func closeAll(tiers []tiered.Tier) {
	for _, t := range tiers {
		_ = t.Cache.Close() // nothing is in it
	}
}

func (s cacheSpec) open(ctx context.Context, staleness time.Duration) (tiered.Tier, error) {
	if s.bytes > 0 {
		c, err := cache.New(cache.Options{MaxBytes: s.bytes})
		if err != nil {
			return tiered.Tier{}, err
		}
		return tiered.Tier{Cache: c}, nil
	}
	c, err := redis.OpenCache(ctx, s.text, redis.CacheOptions{TTL: staleness})
	if err != nil {
		return tiered.Tier{}, err
	}
	return tiered.Tier{Cache: c, Shared: true}, nil
}
