package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// byClient is who ended a session by its id.
const byClient = "client"

// Delete ends the session, as a logout. It is idempotent, and tells nothing
// of others: where the id opens no session, be it unknown, ended or its secret
// wrong, Delete succeeds and changes nothing.
func (m *Manager) Delete(ctx context.Context, id ID) error {
	_, err := m.read(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = m.end(ctx, id.Ref(), state.ReasonLogout, byClient)
	return err
}

// Revoke ends a session by its ref, for the reason given, in the name of who
// is said in by. It reports whether there was one to end.
func (m *Manager) Revoke(ctx context.Context, ref state.Ref, reason state.Reason, by string) (bool, error) {
	_, err := m.readRef(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("revoke %s: %w", m.name(ref), err)
	}
	return m.end(ctx, ref, reason, by)
}

// RevokeUser ends all sessions of a user that exist when it is called, but for
// those excepted (the current one, say), and returns how many it ended. On an
// error it goes on with the others and reports the errors together.
//
// The user may not be empty: a forgotten name must not end all anonymous
// sessions.
func (m *Manager) RevokeUser(ctx context.Context, user string, by string, except ...state.Ref) (int, error) {
	if user == "" {
		return 0, &state.InvalidError{What: "user", Why: "empty: name whose sessions to revoke"}
	}
	return m.revokeAll(ctx, state.Query{User: &user}, by, except)
}

// RevokeAll ends all sessions that were created before the given time, or all
// that exist when it is called if that is zero. See [Manager.RevokeUser].
func (m *Manager) RevokeAll(ctx context.Context, by string, before time.Time) (int, error) {
	return m.revokeAll(ctx, state.Query{CreatedBefore: before}, by, nil)
}

// revokePage is how many sessions are ended in one round trip.
const revokePage = 256

func (m *Manager) revokeAll(ctx context.Context, q state.Query, by string, except []state.Ref) (int, error) {
	q.Namespace, q.Kind, q.Max = m.namespace, m.kind, revokePage
	var (
		total int
		errs  []error
	)
	for {
		refs, err := m.refs(ctx, q)
		if err != nil {
			return total, errors.Join(append(errs, fmt.Errorf("list %ss to revoke: %w", m.kind, err))...)
		}
		if len(refs) == 0 {
			return total, errors.Join(errs...)
		}
		q.After = refs[len(refs)-1]
		refs = slices.DeleteFunc(refs, func(r state.Ref) bool { return slices.Contains(except, r) })
		n, err := m.endMany(ctx, refs, by)
		total += n
		if err != nil {
			errs = append(errs, err)
		}
	}
}

// refs lists a page, to its end: nothing is written while a list is open.
func (m *Manager) refs(ctx context.Context, q state.Query) ([]state.Ref, error) {
	var refs []state.Ref
	for r, err := range m.store.List(ctx, q) {
		if err != nil {
			return nil, err
		}
		refs = append(refs, r.Ref)
	}
	return refs, nil
}

// endMany revokes sessions in one round trip, and by themselves those whose
// answers were lost. It returns the first error for all.
func (m *Manager) endMany(ctx context.Context, refs []state.Ref, by string) (int, error) {
	if len(refs) == 0 {
		return 0, nil
	}
	ops := make([]state.Op, 0, len(refs))
	for _, ref := range refs {
		op, err := m.deleteOp(ref, state.ReasonRevoked, by)
		if err != nil {
			return 0, err
		}
		ops = append(ops, op)
	}
	total, failed := 0, 0
	var first error
	for i, res := range m.store.Apply(ctx, ops...) {
		did, err := m.deleted(ctx, ops[i].(state.DeleteOp), res)
		if did {
			total++
		}
		if err != nil {
			failed++
			first = err
		}
	}
	if first != nil {
		return total, fmt.Errorf("%d of %d not revoked, for example: %w", failed, len(refs), first)
	}
	return total, nil
}

// end ends a session and reports whether this call did it.
func (m *Manager) end(ctx context.Context, ref state.Ref, reason state.Reason, by string) (bool, error) {
	op, err := m.deleteOp(ref, reason, by)
	if err != nil {
		return false, err
	}
	return m.deleted(ctx, op, m.store.Apply(ctx, op)[0])
}

func (m *Manager) deleteOp(ref state.Ref, reason state.Reason, by string) (state.DeleteOp, error) {
	id, err := m.gen.op()
	if err != nil {
		return state.DeleteOp{}, fmt.Errorf("end %s: %w", m.name(ref), err)
	}
	return state.DeleteOp{Key: m.key(ref), Reason: reason, By: by, ID: id}, nil
}

// deleted takes the answer to a delete, finds out where it was lost, and
// reports the ending if it was this one.
func (m *Manager) deleted(ctx context.Context, op state.DeleteOp, res state.Result) (bool, error) {
	if errors.Is(res.Err, ErrUnknownOutcome) {
		res = m.deleteOutcome(ctx, op, res)
	}
	if res.Err != nil {
		return false, fmt.Errorf("end %s: %w", m.name(op.Key.Ref), res.Err)
	}
	m.ended(ctx, res.Ended...)
	return len(res.Ended) > 0, nil
}

// deleteOutcome finds out about a delete whose answer was lost. Deleting is
// idempotent, so it is sent again; the tombstone tells whose it was.
func (m *Manager) deleteOutcome(ctx context.Context, op state.DeleteOp, lost state.Result) state.Result {
	for attempt := range outcomeAttempts {
		if pause(ctx, attempt) != nil {
			return lost
		}
		_, err := m.store.Get(ctx, op.Key)
		if end := endOf(err); end != nil && end.Op == op.ID {
			return state.Result{Ended: []state.End{*end}}
		}
		if errors.Is(err, ErrNotFound) {
			return state.Result{}
		}
		if err != nil {
			continue
		}
		if res := m.store.Apply(ctx, op)[0]; res.Err == nil && len(res.Ended) > 0 {
			return res
		}
	}
	return lost
}
