package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Update changes Data and Metadata of a session by a function. It reads the
// session, runs fn on it and writes what fn changed if nobody else has written
// since; otherwise it does so again, so that no update is lost. So fn may run
// several times: it should do nothing but change the session it is given, and
// must not call the Manager for the same session. Other fields that fn changes
// are ignored; reserved keys that it changes are [ErrReservedKey]. An error of
// fn ends the Update and is returned as it is. If fn changes nothing, nothing
// is written.
//
// A session that has ended meanwhile is [ErrNotFound], and stays ended. An
// Update that keeps losing is [ErrConflict] after some seconds. It notes no
// access.
func (m *Manager) Update(ctx context.Context, id ID, fn func(*Session) error) (*Session, error) {
	return m.update(ctx, id.Ref(), m.opener(id), content{id: id, fn: fn})
}

// UpdateRef is [Manager.Update] by ref, without a secret, for adapters; fn may
// change reserved keys.
func (m *Manager) UpdateRef(ctx context.Context, ref state.Ref, fn func(*Session) error, opts ...WriteOption) (*Session, error) {
	return m.update(ctx, ref, m.byRef(ref), content{fn: fn, reserved: true, epoch: epochOf(opts)})
}

// Set stores one value of a session. See [Manager.Update].
func (m *Manager) Set(ctx context.Context, id ID, key string, value any) error {
	if reserved(key) {
		return ErrReservedKey
	}
	_, err := m.Update(ctx, id, func(s *Session) error { return s.Set(key, value) })
	return err
}

// A reader returns the current record of what is to be changed.
type reader func(context.Context) (state.Record, error)

func (m *Manager) opener(id ID) reader {
	return func(ctx context.Context) (state.Record, error) { return m.read(ctx, id) }
}

func (m *Manager) byRef(ref state.Ref) reader {
	return func(ctx context.Context) (state.Record, error) { return m.readRef(ctx, ref) }
}

// content changes Data and Metadata by a function.
type content struct {
	id       ID
	fn       func(*Session) error
	reserved bool // fn may change reserved keys
	epoch    uint64
}

func (m *Manager) update(ctx context.Context, ref state.Ref, read reader, c content) (*Session, error) {
	r, wrote, err := m.compareAndSwap(ctx, ref, read, func(r *state.Record) (*state.UpdateOp, error) {
		return m.contentOp(r, c)
	})
	if err != nil {
		return nil, err
	}
	if wrote {
		m.emit(ctx, Event{Type: EventUpdated, At: storeNow(&r.Stamp), Ref: ref, User: r.User, Size: state.Size(r)})
	}
	return m.session(c.id, r), nil
}

// contentOp runs the function and returns what it changed, or nil.
func (m *Manager) contentOp(r *state.Record, c content) (*state.UpdateOp, error) {
	before := r.Clone()
	s := m.session(c.id, r)
	if err := c.fn(s); err != nil {
		return nil, err
	}
	if !c.reserved && !sameData(onlyReserved(before.Data), onlyReserved(s.Data)) {
		return nil, ErrReservedKey
	}
	op := &state.UpdateOp{Epoch: c.epoch}
	if !sameData(before.Data, s.Data) {
		op.Data = s.Data
		if op.Data == nil {
			op.Data = map[string]json.RawMessage{}
		}
	}
	if !sameMetadata(before.Meta, s.Metadata) {
		op.Meta = &s.Metadata
	}
	if op.Data != nil {
		if err := checkContent(s, c.reserved); err != nil {
			return nil, err
		}
	}
	*r = before
	if op.Data == nil && op.Meta == nil {
		return nil, nil
	}
	return op, nil
}

// compareAndSwap reads a record, has change say what to write, and writes it,
// again and again until nobody came between. change may write into the record
// it is given, but leaves it as it was. With nil from change nothing is
// written. It returns the record as it is then, and whether it wrote.
func (m *Manager) compareAndSwap(
	ctx context.Context, ref state.Ref, read reader, change func(*state.Record) (*state.UpdateOp, error),
) (r *state.Record, wrote bool, err error) {
	var lost uint64 // the version that has lost already
	for attempt := range updateAttempts {
		if attempt > 0 {
			if err := pause(ctx, attempt); err != nil {
				return nil, false, fmt.Errorf("update %s: %w", m.name(ref), err)
			}
		}
		r, err := read(ctx)
		if err != nil {
			return nil, false, err
		}
		if r.Version == lost {
			continue // a stale read: it would lose again
		}
		op, err := change(&r)
		if err != nil || op == nil {
			return &r, false, err
		}
		switch err := m.applyUpdate(ctx, &r, op); {
		case err == nil:
			return &r, true, nil
		case errors.Is(err, ErrConflict):
			lost = r.Version
		case errors.Is(err, ErrNotFound):
			return nil, false, ErrNotFound
		default:
			return nil, false, fmt.Errorf("update %s: %w", m.name(ref), err)
		}
	}
	return nil, false, fmt.Errorf("update %s: lost against others %d times: %w", m.name(ref), updateAttempts, ErrConflict)
}

// applyUpdate writes op on top of r, and makes r what is stored then.
func (m *Manager) applyUpdate(ctx context.Context, r *state.Record, op *state.UpdateOp) error {
	id, err := m.gen.op()
	if err != nil {
		return err
	}
	op.Key, op.Version, op.ID = r.Key(), r.Version, id
	res, err := state.Do(ctx, m.store, *op)
	if errors.Is(err, ErrUnknownOutcome) {
		res, err = m.updateOutcome(ctx, *op, err)
	}
	if err != nil {
		return err
	}
	r.Stamp, r.LastOp = res.Stamp, id
	if op.Data != nil {
		r.Data = maps.Clone(op.Data)
	}
	if op.Meta != nil {
		r.Meta = *op.Meta
	}
	if op.Rotate != nil {
		r.Secret = op.Rotate.Apply(r.Secret, storeNow(&res.Stamp))
	}
	return nil
}

// updateOutcome finds out whether an update happened whose answer was lost. If
// the record still has the version from before, the same operation is sent
// again, under the same id: the version lets only one of the two through.
func (m *Manager) updateOutcome(ctx context.Context, op state.UpdateOp, lost error) (state.Result, error) {
	for attempt := range outcomeAttempts {
		if pause(ctx, attempt) != nil {
			break
		}
		r, err := m.store.Get(ctx, op.Key)
		switch {
		case errors.Is(err, ErrNotFound):
			return state.Result{}, err
		case err != nil:
			continue
		case r.LastOp == op.ID:
			return state.Result{Stamp: r.Stamp}, nil
		case r.Version == op.Version+1:
			return state.Result{}, &state.ConflictError{Want: op.Version, Have: r.Version}
		case r.Version > op.Version:
			return state.Result{}, lost // ours may be one of those between
		case op.Epoch != 0 && r.Epoch != op.Epoch:
			return state.Result{}, &state.FencedError{Want: op.Epoch, Have: r.Epoch, Owner: r.Owner}
		}
		if res, err := state.Do(ctx, m.store, op); err == nil {
			return res, nil
		}
	}
	return state.Result{}, lost
}

func onlyReserved(data map[string]json.RawMessage) map[string]json.RawMessage {
	own := maps.Clone(data)
	maps.DeleteFunc(own, func(k string, _ json.RawMessage) bool { return !reserved(k) })
	return own
}

func sameData(a, b map[string]json.RawMessage) bool {
	return maps.EqualFunc(a, b, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

func sameMetadata(a, b state.Metadata) bool {
	return a.Address == b.Address && a.UserAgent == b.UserAgent && a.ProtocolVersion == b.ProtocolVersion &&
		slices.Equal(a.Capabilities, b.Capabilities)
}
