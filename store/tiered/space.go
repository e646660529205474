package tiered

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A space is a namespace whose changes are watched. Its records are cached
// while the watch is healthy.
type space struct {
	store     *Store
	namespace string
	cleared   bool // whether copies from before the watch were dropped; used by run alone

	// healthy is set while the caches may be used, if the watch is not
	// silent.
	healthy atomic.Bool
	// When the watch was heard of last; whatever it said before is done.
	heardAt, heardWall atomic.Int64
}

// silence is how many beats may be missing before a watch is taken for lost.
const silence = 3

// space returns the namespace's space, or nil if it is not to be cached.
func (s *Store) space(namespace string) *space {
	known := *s.spaces.Load()
	if sp := known[namespace]; sp != nil {
		return sp
	}
	if len(known) >= MaxNamespaces || state.CheckName("namespace", namespace) != nil {
		return nil
	}
	return s.openSpace(namespace)
}

func (s *Store) openSpace(namespace string) *space {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.spaces.Load()
	if sp := known[namespace]; sp != nil || s.closed || len(known) >= MaxNamespaces {
		return sp
	}
	sp := &space{store: s, namespace: namespace, cleared: true} // nothing was filled yet
	more := maps.Clone(known)
	more[namespace] = sp
	s.spaces.Store(&more)
	s.tasks.Go(sp.run)
	return sp
}

// silent reports whether nothing was heard of the watch for too long, be it by
// the monotonic clock or, when the machine slept, by the wall clock.
func (sp *space) silent(now instant, beat time.Duration) bool {
	limit := int64(silence * beat)
	return now.at-sp.heardAt.Load() > limit || now.wall-sp.heardWall.Load() > limit
}

// hear notes that the watch is alive.
func (sp *space) hear(now instant) {
	sp.heardAt.Store(now.at)
	sp.heardWall.Store(now.wall)
}

// run watches until the store is closed, again and again if need be.
func (sp *space) run() {
	ctx := sp.store.life
	for ctx.Err() == nil {
		sp.watch(ctx)
		sp.unhealthy()
		select {
		case <-ctx.Done():
		case <-time.After(sp.store.opts.Beat):
		}
	}
}

func (sp *space) unhealthy() {
	if sp.healthy.Swap(false) {
		sp.store.opts.OnWatch(sp.namespace, false)
	}
}

// watch follows one watch of the store below until it is lost.
func (sp *space) watch(ctx context.Context) {
	s := sp.store
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := s.inner.Watch(ctx, state.WatchOptions{Namespace: sp.namespace, Beat: s.opts.Beat})
	if err != nil {
		return // an outage shows in reads and writes; here it is tried again
	}
	if sp.cleared { // the first watch is believed to live
		sp.resume(ctx, s.times.now())
	}
	patience := time.NewTimer(silence * s.opts.Beat)
	defer patience.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			return
		case c, ok := <-changes:
			if !ok {
				return
			}
			sp.take(ctx, c)
		}
		patience.Reset(silence * s.opts.Beat)
	}
}

// resume lets the caches be used from now on, when the watch has given a sign
// of life. Nothing was filled since it was lost, and what was before is dropped.
func (sp *space) resume(ctx context.Context, now instant) {
	s := sp.store
	if !sp.cleared {
		s.clear(ctx)
	}
	sp.cleared = false
	sp.hear(now)
	if !sp.healthy.Swap(true) {
		s.opts.OnWatch(sp.namespace, true)
	}
}

// take does what a change asks for.
func (sp *space) take(ctx context.Context, c state.Change) {
	s := sp.store
	now := s.times.now()
	if c.Type == state.Gap || sp.silent(now, s.opts.Beat) {
		sp.unhealthy()
	}
	if !sp.healthy.Load() {
		sp.resume(ctx, now)
	}
	s.follow(c, true)
	if c.Type == state.Beat {
		s.doubts.prune(now)
		s.clearDirty(ctx)
	}
	sp.hear(now)
}

// follow drops what a change has made old; shared says whether in shared
// caches too.
func (s *Store) follow(c state.Change, shared bool) {
	o := old{c.Key, c.Revision}
	switch c.Type {
	case state.Updated:
	case state.Deleted, state.Expired:
		o.revision = state.Ended
	default:
		return
	}
	if shared {
		s.dropAll([]old{o})
		return
	}
	for _, t := range s.tiers {
		if !t.Shared {
			s.dropLocal(t, []old{o})
		}
	}
}

// clear drops every copy of every tier. A tier that cannot be cleared is not
// used until it could.
func (s *Store) clear(ctx context.Context) {
	s.clearing.Lock()
	defer s.clearing.Unlock()
	for _, t := range s.tiers {
		t.dirty.Store(true)
		s.clearTier(ctx, t)
	}
}

// clearDirty tries again with the tiers that could not be cleared.
func (s *Store) clearDirty(ctx context.Context) {
	for _, t := range s.tiers {
		if !t.dirty.Load() {
			continue
		}
		s.clearing.Lock()
		if t.dirty.Load() {
			s.clearTier(ctx, t)
		}
		s.clearing.Unlock()
	}
}

// clearTier clears one tier. s.clearing is held.
func (s *Store) clearTier(ctx context.Context, t *tier) {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	if err := t.Cache.Clear(ctx); err != nil {
		s.failed(t, err)
		return
	}
	t.dirty.Store(false)
}
