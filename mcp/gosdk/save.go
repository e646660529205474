package gosdk

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// kick has a goroutine store what is to be stored. e.mu is held.
func (e *events) kick() {
	if e.store == nil || e.kicked || e.dead {
		return
	}
	e.kicked = true
	e.spawn(func() {
		for {
			err := e.save(context.Background())
			e.mu.Lock()
			if err != nil || e.dead || len(e.pending()) == 0 {
				e.kicked = false
				e.mu.Unlock()
				return
			}
			e.mu.Unlock()
		}
	})
}

// save stores what is to be stored. What could not be stays for the next time.
func (e *events) save(ctx context.Context) error {
	if e.store == nil {
		return nil
	}
	e.saving.Lock()
	defer e.saving.Unlock()
	ctx, cancel := detached(ctx)
	defer cancel()
	err := e.saveOnce(ctx)
	if errors.Is(err, state.ErrConflict) {
		if err = e.agree(ctx); err == nil {
			err = e.saveOnce(ctx)
		}
	}
	e.note(err)
	if err == nil {
		err = e.trim(ctx)
	}
	return err
}

func (e *events) saveOnce(ctx context.Context) error {
	e.mu.Lock()
	pending := e.pending()
	dead := e.dead
	e.mu.Unlock()
	if len(pending) == 0 || dead {
		return nil
	}
	if err := e.store.Append(ctx, e.key, e.epoch, pending...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range pending {
		e.settle(a)
	}
	return nil
}

// pending returns what is to be stored. e.mu is held.
func (e *events) pending() []state.EventAppend {
	var out []state.EventAppend
	if a, ok := pendingOf(&e.standing); ok {
		out = append(out, a)
	}
	for _, s := range e.streams {
		if a, ok := pendingOf(s); ok {
			out = append(out, a)
		}
	}
	return out
}

func pendingOf(s *stream) (state.EventAppend, bool) {
	if !s.keep || !s.loaded {
		return state.EventAppend{}, false
	}
	for s.stored < s.next() && len(s.mem[s.stored-s.base].data) > state.MaxEventBytes {
		s.dropTo(s.stored + 1) // no store takes it: it cannot be resumed
	}
	events := s.unstored()
	for i, data := range events {
		if len(data) > state.MaxEventBytes {
			events = events[:i]
			break
		}
	}
	if len(events) == 0 {
		return state.EventAppend{}, false
	}
	return state.EventAppend{Stream: s.name, Index: s.stored, Skip: s.gap, Events: events}, true
}

// settle notes that the events are stored, and lets memory go. e.mu is held.
func (e *events) settle(a state.EventAppend) {
	for _, data := range a.Events {
		e.written += int64(len(data)) + keptOverhead
	}
	s := e.named(a.Stream)
	if s == nil {
		return
	}
	end := a.Index + int64(len(a.Events))
	if s.stored < end {
		s.stored, s.gap = end, false
	}
	e.drop(s, s.stored)
	if s.done() && s.stored == s.next() {
		e.forget(s)
	}
}

// drop forgets the events of s before the index. e.mu is held.
func (e *events) drop(s *stream, index int64) {
	before := s.size
	s.dropTo(index)
	e.size -= before - s.size
}

// agree finds out where the store stands, after it refused an index: it may
// have taken events whose answer was lost, or have forgotten some.
func (e *events) agree(ctx context.Context) error {
	e.mu.Lock()
	pending := e.pending()
	e.mu.Unlock()
	for _, a := range pending {
		_, next, err := e.store.Tail(ctx, e.key, a.Stream)
		if err != nil {
			return err
		}
		e.mu.Lock()
		s := e.named(a.Stream)
		switch {
		case s == nil:
		case next > s.next():
			// Somebody else writes this stream: the session is live twice.
			e.mu.Unlock()
			return state.ErrFenced
		case next > s.stored:
			s.stored, s.gap = next, false
			e.drop(s, next)
		case next < s.stored:
			s.gap = true
		}
		e.mu.Unlock()
	}
	return nil
}

// note remembers what an error means for later writes, and says it once.
func (e *events) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		e.lost = false
		return
	case errors.Is(err, state.ErrNotFound):
		e.dead = true
		return
	case errors.Is(err, state.ErrFenced):
		e.dead = true
		if e.fenced != nil && e.epoch != 0 {
			e.spawn(e.fenced)
		}
		return
	case errors.Is(err, state.ErrTooLarge), errors.Is(err, state.ErrInvalid):
		// It would be refused each time: these events cannot be resumed.
		for _, a := range e.pending() {
			if s := e.named(a.Stream); s != nil {
				e.drop(s, a.Index+int64(len(a.Events)))
			}
		}
	}
	if !e.lost {
		e.lost = true
		e.log.Warn("could not store events; they stay in memory for now", "ref", e.key.Ref, "error", err)
	}
}

// trim has the store forget what is over the bounds, now and then.
func (e *events) trim(ctx context.Context) error {
	now := time.Now()
	e.mu.Lock()
	due := e.written > e.bounds.Bytes/4 || e.written > 0 && now.Sub(e.trimmed) > min(e.bounds.Age/4, time.Minute)
	if !due || e.holds > 0 || e.dead {
		e.mu.Unlock()
		return nil
	}
	e.written, e.trimmed = 0, now
	e.mu.Unlock()
	return e.store.Trim(ctx, e.key, e.bounds)
}

// tend stores what could not be stored before, and forgets what is due.
func (e *events) tend(ctx context.Context, now time.Time) {
	e.mu.Lock()
	e.forgetFinished(now)
	if e.store == nil {
		e.forgetOld(now)
		e.mu.Unlock()
		return
	}
	for _, s := range e.streams {
		if s.keep && s.done() && s.stored == s.next() {
			e.forget(s)
		}
	}
	if len(e.pending()) > 0 {
		e.kick()
	}
	e.mu.Unlock()
	e.saving.Lock()
	defer e.saving.Unlock()
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := e.trim(ctx); err != nil {
		e.note(err)
	}
}

// forgetOld drops events over the age, and streams that ended with them.
// e.mu is held.
func (e *events) forgetOld(now time.Time) {
	old := func(s *stream) {
		for len(s.mem) > 0 && now.Sub(s.mem[0].at) > e.bounds.Age {
			e.drop(s, s.base+1)
		}
	}
	if e.holds == 0 {
		old(&e.standing)
	}
	for _, s := range e.streams {
		old(s)
		if s.done() && len(s.mem) == 0 {
			e.forget(s)
		}
	}
}

// flush stores everything that a client might still resume, before the session
// is closed here. After it nothing more is stored.
func (e *events) flush(ctx context.Context) error {
	e.mu.Lock()
	if e.store != nil {
		e.forgetFinished(time.Now())
		for _, s := range e.finished {
			e.streams[s.name] = s
		}
		e.finished = nil
		for _, s := range e.streams {
			s.keep = true
		}
	}
	e.mu.Unlock()
	if err := e.save(ctx); err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return nil
}

// stop ends storing: another activation may write the streams from now on.
func (e *events) stop() {
	e.saving.Lock()
	defer e.saving.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = true
}
