package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A CreateRequest says what a new session is to be. The zero value asks for an
// empty anonymous session.
type CreateRequest struct {
	// User is the principal to whom the session is bound; empty for none. It
	// must come from verified credentials, never from the client's say-so.
	User     string
	Metadata state.Metadata
	// Data may have reserved keys: whoever creates sessions is the adapter.
	Data map[string]json.RawMessage
	// Authentication, if not nil, is noted: see [Session.AuthTime].
	Authentication *Authentication
	// FixedID says that the client's protocol hands out an id once and never
	// again, as MCP does up to the revision of 2025-11-25. Such a session
	// cannot be regenerated: that is [ErrFixedID]. What would need a new id,
	// a change of privileges say, ends the session instead, and the client
	// starts a new one.
	FixedID bool
	// Owner is the process in which the session is live from the beginning;
	// empty for none. It is written in the same round trip. Should that part
	// fail, the session is there without an owner: Session.Owner says so.
	Owner string
}

// data returns what the record is to hold. now is this process's time: the
// store's is not known yet.
func (req *CreateRequest) data(now time.Time) (map[string]json.RawMessage, error) {
	data := req.Data
	if req.FixedID {
		data = withFixedID(data)
	}
	if req.Authentication != nil {
		data = with(data, proofKey, nil)
		if err := noteProof(data, *req.Authentication, now); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// Create makes a session with a new id, which is in Session.ID and nowhere
// else: it cannot be had again. Ids presented by clients are never adopted.
//
// If the user has as many sessions as the policy allows, the oldest are ended
// in the same step, or the new one is refused with [ErrLimit], as it is over
// [Policy.MaxTotal] and [Policy.NewPerAddress].
func (m *Manager) Create(ctx context.Context, req CreateRequest) (*Session, error) {
	if err := m.rate.admit(req.Metadata.Address, m.clock()); err != nil {
		m.refused(ctx, err, &req)
		return nil, fmt.Errorf("create %s: %w", m.kind, err)
	}
	id, err := m.gen.id(req.User)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", m.kind, err)
	}
	r, err := m.insert(ctx, id, req)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", m.kind, err)
	}
	return m.session(id, r), nil
}

// insert stores a new record under the id and reports it.
func (m *Manager) insert(ctx context.Context, id ID, req CreateRequest) (*state.Record, error) {
	op, err := m.gen.op()
	if err != nil {
		return nil, err
	}
	data, err := req.data(m.clock())
	if err != nil {
		return nil, err
	}
	if err := checkKeys(data); err != nil {
		return nil, err
	}
	create := state.CreateOp{
		Record: state.Record{
			Namespace: m.namespace, Kind: m.kind, Ref: id.Ref(), User: req.User,
			Secret: state.Secret{Hash: id.Hash()}, Meta: req.Metadata, Data: data,
		},
		Idle: m.policy.idle(), Lifetime: m.policy.AbsoluteLifetime,
		Limit: m.policy.limit(), ID: op,
		By: "new " + m.kind + " " + id.Ref().String(),
	}
	res, owned, err := m.applyCreate(ctx, create, req.Owner)
	if err != nil {
		m.refused(ctx, err, &req)
		return nil, err
	}
	r := create.Record.Clone()
	r.Stamp = res.Stamp
	if owned {
		r.Owner = req.Owner
	}
	m.ended(ctx, res.Ended...)
	m.emit(ctx, Event{
		Type: EventCreated, At: r.Created, Ref: r.Ref, User: r.User, Size: state.Size(&r), Address: r.Meta.Address,
	})
	return &r, nil
}

func (m *Manager) refused(ctx context.Context, err error, req *CreateRequest) {
	if errors.Is(err, ErrLimit) {
		m.emit(ctx, Event{
			Type: EventLimitRefused, At: m.clock(), User: req.User, What: limitOf(err), Address: req.Metadata.Address,
		})
	}
}

// limitOf names the limit that refused.
func limitOf(err error) string {
	var limit *state.LimitError
	switch {
	case errors.As(err, new(*RateError)):
		return LimitRate
	case errors.As(err, &limit) && limit.Scope != LimitUser:
		return LimitTotal
	}
	return LimitUser
}

// applyCreate creates, for the owner if there is one, and reports whether it
// has it. Both are one round trip: operations on one ref keep their order.
func (m *Manager) applyCreate(ctx context.Context, create state.CreateOp, owner string) (res state.Result, owned bool, err error) {
	if owner == "" {
		res, err = state.Do(ctx, m.store, create)
	} else {
		both := m.store.Apply(ctx, create, state.SetOwnerOp{Key: create.Record.Key(), Owner: owner})
		res, err = both[0], both[0].Err
		if owned = err == nil && both[1].Err == nil; owned {
			res.Stamp = both[1].Stamp
		}
	}
	if errors.Is(err, ErrUnknownOutcome) {
		res, err = m.createOutcome(ctx, create, res)
	}
	return res, owned, err
}

// createOutcome finds out what happened where the answer was lost. Sending the
// same create again is safe: the ref is taken if the first one arrived.
// Whatever the second answers but success, the first may still arrive.
func (m *Manager) createOutcome(ctx context.Context, create state.CreateOp, lost state.Result) (state.Result, error) {
	for attempt := range outcomeAttempts {
		if pause(ctx, attempt) != nil {
			return lost, lost.Err
		}
		r, readErr := m.store.Get(ctx, create.Record.Key())
		if readErr == nil && r.Secret.Hash == create.Record.Secret.Hash {
			return state.Result{Stamp: r.Stamp}, nil
		}
		if !errors.Is(readErr, ErrNotFound) {
			continue
		}
		if endOf(readErr) != nil {
			return lost, lost.Err
		}
		if again, err := state.Do(ctx, m.store, create); err == nil {
			return again, nil
		}
	}
	return lost, lost.Err
}

// endOf returns how the record of a not-found error ended, or nil.
func endOf(err error) *state.End {
	var nf *state.NotFoundError
	if errors.As(err, &nf) {
		return nf.End
	}
	return nil
}
