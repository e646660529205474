package encrypted

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Append implements [state.EventStore].
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if s.events == nil {
		return errNoEvents()
	}
	sealed := make([]state.EventAppend, len(appends))
	for i, a := range appends {
		var err error
		if sealed[i], err = s.sealEvents(key, a); err != nil {
			return err
		}
	}
	return s.withUser(s.events.Append(ctx, key, epoch, sealed...))
}

func errNoEvents() error { return &state.UnsupportedError{Field: "event: it keeps none"} }

func (s *Store) sealEvents(key state.Key, a state.EventAppend) (state.EventAppend, error) {
	k := s.ring.Active()
	c := k.Cipher(keyring.Events)
	e := envelope{keyID: k.ID()}
	longest := state.MaxEventBytes - s.Guarantees().EventOverhead
	plain := a.Events
	a.Events = make([][]byte, len(plain))
	for i, ev := range plain {
		if len(ev) > longest {
			return a, &state.BoundError{What: "event", Size: len(ev), Max: longest}
		}
		out := e.append(make([]byte, 0, overhead+len(ev)))
		aad := eventBinding(out, key, a.Stream, a.Index+int64(i))
		a.Events[i] = c.Seal(out, ev, aad)
	}
	return a, nil
}

// eventBinding is what an event is bound to.
func eventBinding(head []byte, key state.Key, stream string, index int64) []byte {
	b := append(make([]byte, 0, 256), head...)
	b = appendBound(b, key.Namespace)
	b, _ = key.Ref.AppendBinary(b)
	b = appendBound(b, stream)
	return binary.BigEndian.AppendUint64(b, uint64(index))
}

// Read implements [state.EventStore]. An event that cannot be opened ends it.
func (s *Store) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	if s.events == nil {
		return func(yield func([]byte, error) bool) { yield(nil, errNoEvents()) }
	}
	// Asked now, since what is read is what is there now.
	sealed := s.events.Read(ctx, key, stream, from)
	return func(yield func([]byte, error) bool) {
		index := from
		for ev, err := range sealed {
			if err != nil {
				yield(nil, s.withUser(err))
				return
			}
			ev, err := s.openEvent(ctx, key, stream, index, ev)
			if !yield(ev, err) || err != nil {
				return
			}
			index++
		}
	}
}

func (s *Store) openEvent(ctx context.Context, key state.Key, stream string, index int64, sealed []byte) ([]byte, error) {
	ev, cause := s.unsealEvent(key, stream, index, sealed)
	if cause == nil {
		return ev, nil
	}
	err := s.refuse(ctx, Refusal{Key: key, Stream: stream, Index: index, KeyID: cause.keyID, Err: cause.err, Why: cause.why})
	return nil, fmt.Errorf("event %d: %w", index, err)
}

func (s *Store) unsealEvent(key state.Key, stream string, index int64, sealed []byte) ([]byte, *refusalCause) {
	e, head, message, err := parseEnvelope(sealed)
	switch {
	case err != nil && s.opts.AcceptPlain:
		return sealed, nil
	case err != nil:
		return nil, tampered(err.Error(), "")
	}
	k, err := s.ring.Find(e.keyID)
	if err != nil {
		return nil, keyCause(err)
	}
	ev, err := k.Cipher(keyring.Events).Open([]byte{}, message, eventBinding(head, key, stream, index))
	if err != nil {
		return nil, tampered("", e.keyID)
	}
	return ev, nil
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if s.events == nil {
		return 0, 0, errNoEvents()
	}
	first, next, err = s.events.Tail(ctx, key, stream)
	return first, next, s.withUser(err)
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if s.events == nil {
		return errNoEvents()
	}
	return s.withUser(s.events.Trim(ctx, key, keep))
}
