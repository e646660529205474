package nats

import (
	"context"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// lives remembers until when records and tombstones need not be looked at by a
// Sweep: deadlines only move forward, and whatever ends leaves a tombstone for
// long. All but an extension that shortens a life, which says so under a subject
// of its own ([Store.cutSubject]): then all is forgotten.
type lives struct {
	mu     sync.Mutex // guards all below
	spaces map[string][]lifetimes
}

// lifetimes are those of a namespace in one stream.
type lifetimes struct {
	cut   cut
	until map[state.Ref]int64 // in Unix milliseconds
}

// A cut says which message told last that a life was shortened. What was read
// before it counts no more, nor what another stream said that had the place.
type cut struct {
	stream string
	seq    uint64
}

// due returns those of the refs that a stream has that are to be looked at now,
// and forgets all others.
func (l *lives) due(namespace string, stream, streams int, c cut, refs []state.Ref, now int64) []state.Ref {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spaces == nil {
		l.spaces = make(map[string][]lifetimes)
	}
	if l.spaces[namespace] == nil {
		l.spaces[namespace] = make([]lifetimes, streams)
	}
	known := &l.spaces[namespace][stream]
	if known.cut != c {
		known.until = nil
	}
	there := make(map[state.Ref]int64, len(known.until))
	var due []state.Ref
	for _, ref := range refs {
		until, ok := known.until[ref]
		if ok {
			there[ref] = until
		}
		if now >= until {
			due = append(due, ref)
		}
	}
	*known = lifetimes{cut: c, until: there}
	return due
}

// learn remembers a slot that was read at a time, unless a life was shortened
// since the refs were asked for.
func (l *lives) learn(sl *slot, c cut, now int64) {
	until := int64(0)
	switch {
	case sl.tomb != nil:
		until = sl.tomb.Due
	case sl.rec != nil:
		// If it is deleted, its tombstone is due after that time.
		until = min(sl.rec.Expires().UnixMilli(), now+state.TombstoneTTL.Milliseconds())
	default:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := &l.spaces[sl.key.Namespace][sl.stream]; known.cut == c {
		known.until[sl.key.Ref] = until
	}
}

// cutOf reads which message told last that a life was shortened.
func (s *Store) cutOf(ctx context.Context, stream int, namespace string) (cut, error) {
	name := s.called(stream)
	m, err := s.get(ctx, stream, s.cutSubject(stream, namespace))
	return cut{name, m.seq}, err
}

// cutSubject is where an extension that shortens a life tells so.
func (s *Store) cutSubject(stream int, namespace string) string {
	return s.streamName(stream) + ".s." + spaceToken(namespace)
}
