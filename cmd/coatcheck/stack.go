package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// cacheFlags say which caches stand before the store.
type cacheFlags struct {
	Cache          string `placeholder:"TIERS" help:"Answer repeated reads from caches: l1=SIZE in the process, such as l1=64MiB, then l2=redis://…."`
	CacheStaleness span   `default:"5s" help:"How long a copy may be served, and so what another process wrote be missed if its notification is lost."`
}

// caches reads the flags.
func (f *cacheFlags) caches() (open.Caches, error) {
	if f.Cache == "" {
		return open.Caches{}, nil
	}
	c, err := open.ParseCaches(f.Cache)
	if err != nil {
		return c, usagef("--cache: %w", err)
	}
	return c, nil
}

// stackFlags say what stands between the server and its store.
type stackFlags struct {
	cacheFlags  `embed:""`
	Replication level  `placeholder:"LEVEL" help:"When a write is acknowledged, by a store that keeps copies: none, leader, quorum or all of them have it. Without it the store's default, quorum where it has replicas."`
	Batch       string `placeholder:"HOW" help:"Store what is written at the same time together: size=512 operations at most, interval=5ms from one group to the next; touches=1s answers touches before they are stored."`
}

// A stack is what the flags come to.
type stack struct {
	caches    open.Caches
	staleness time.Duration
	batch     *batched.Options // nil: writes are not collected

	replication state.Replication // empty: the store's default
}

func (f *stackFlags) stack() (s stack, err error) {
	s.staleness, s.replication = time.Duration(f.CacheStaleness), state.Replication(f.Replication)
	if s.caches, err = f.caches(); err != nil {
		return s, err
	}
	if f.Batch == "" {
		return s, nil
	}
	if s.batch, err = parseBatch(f.Batch); err != nil {
		return s, usagef("--batch: %w", err)
	}
	return s, nil
}

// parseBatch reads size=N,interval=DURATION,touches=DURATION, of which any may
// be left out.
func parseBatch(text string) (*batched.Options, error) {
	opts := &batched.Options{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		var d span
		switch name {
		case "size":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("size: %q is no number of operations: write one such as size=512", value)
			}
			opts.MaxOps = n
		case "interval", "touches":
			if err := d.UnmarshalText([]byte(value)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if name == "interval" {
				opts.Interval = time.Duration(d)
			} else {
				opts.WriteBehind = &batched.WriteBehind{Interval: time.Duration(d)}
			}
		default:
			return nil, fmt.Errorf("%q is not known: write size=512, interval=5ms or touches=1s, or several with commas between them", name)
		}
	}
	return opts, nil
}

// options are those of opening a store with the stack around it. What happens
// in it is counted, and logged where somebody should know.
func (s stack) options(m *metrics, log *slog.Logger) open.Options {
	opts := open.Options{
		Replication: s.replication,
		Caches:      s.caches,
		OnLookup:    m.Lookup,
		Tiered: tiered.Options{
			Staleness: s.staleness,
			OnError:   m.cacheError(log),
			OnWatch: func(namespace string, healthy bool) {
				if healthy {
					log.Info("the caches are in use", "namespace", namespace)
					return
				}
				log.Warn("the caches are passed by: the watch of the store was lost", "namespace", namespace)
			},
		},
	}
	if s.batch != nil {
		batch := *s.batch
		batch.OnGroup = m.group
		if batch.WriteBehind != nil {
			behind := *batch.WriteBehind
			behind.OnLost = func(l batched.Lost) {
				m.touchesLost.Inc()
				log.Warn("a touch that was answered was not stored", "ref", l.Op.Key.Ref, "error", l.Err)
			}
			batch.WriteBehind = &behind
		}
		opts.Batch = &batch
	}
	return opts
}

// complaintPause is the least time between two lines about a cache that fails.
const complaintPause = 10 * time.Second

// A complaint is a warning that is not repeated with every request.
type complaint struct {
	mu   sync.Mutex
	last time.Time
}

// due reports whether it is time to say it again.
func (c *complaint) due(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last) < complaintPause {
		return false
	}
	c.last = now
	return true
}

// cacheError counts errors of caches and logs some.
func (m *metrics) cacheError(log *slog.Logger) func(string, error) {
	var c complaint
	return func(tier string, err error) {
		m.cacheErrors.WithLabelValues(tier).Inc()
		if !errors.Is(err, context.Canceled) && c.due(time.Now()) {
			log.Warn("a cache fails and is passed by", "tier", tier, "error", err)
		}
	}
}
