package statetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An env is what a check works with: a store, a namespace that nobody else
// uses, and helpers that end the check when the store misbehaves.
type env struct {
	testing.TB
	ctx   context.Context
	h     Harness
	store state.Store
	clock *Clock // nil with OwnClock
	g     state.Guarantees
	ns    string

	mu   sync.Mutex
	seen map[state.Key]uint64 // guarded by mu; the newest acknowledged revision
}

func newEnv(ctx context.Context, t testing.TB, h Harness, o opened, g state.Guarantees) *env {
	return &env{
		TB: t, ctx: ctx, h: h, store: o.store, clock: o.clock, g: g,
		ns: newNamespace(), seen: map[state.Key]uint64{},
	}
}

// on returns the same environment with another handle on the records.
func (e *env) on(s state.Store) *env {
	return &env{
		TB: e.TB, ctx: e.ctx, h: e.h, store: s, clock: e.clock, g: e.g,
		ns: e.ns, seen: map[state.Key]uint64{},
	}
}

func newNamespace() string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("t%x", b)
}

const (
	kind = "session"
	// longLife is a lifetime that no check outlives by accident.
	longLife = 12 * time.Hour
)

// life is a lifetime that the check can wait out: see [env.pass].
func (e *env) life() time.Duration {
	switch {
	case e.clock != nil:
		return time.Hour
	case e.h.ShortLife > 0:
		return e.h.ShortLife
	}
	return 250 * time.Millisecond
}

func newRef(t testing.TB, routing byte) state.Ref {
	t.Helper()
	ref, err := state.NewRef(routing, rand.Reader)
	if err != nil {
		t.Fatalf("make a ref: %v", err)
	}
	return ref
}

func (e *env) key() state.Key {
	return state.Key{Namespace: e.ns, Ref: newRef(e, 7)}
}

// routing returns the routing byte of a user: the same for all of a user's
// refs, as the contract of [state.Ref] has it, and any for none.
func routing(user string) byte {
	if user == "" {
		return byte(mathrand.Uint32())
	}
	return sha256.Sum256([]byte(user))[0]
}

func newHash() (h state.Hash) {
	rand.Read(h[:])
	return h
}

func newOpID() (id state.OpID) {
	rand.Read(id[:])
	return id
}

// data returns record data of one value.
func data(key, value string) map[string]json.RawMessage {
	return map[string]json.RawMessage{key: json.RawMessage(value)}
}

// createOp returns an operation that creates a full record with a long life.
func (e *env) createOp(mods ...func(*state.CreateOp)) state.CreateOp {
	k := e.key()
	op := state.CreateOp{
		Record: state.Record{
			Namespace: k.Namespace, Kind: kind, Ref: k.Ref, User: "user-" + k.Ref.String(),
			Secret: state.Secret{Hash: newHash()},
			Meta: state.Metadata{
				Address:         netip.MustParseAddr("192.0.2.7"),
				UserAgent:       "statetest/1",
				ProtocolVersion: "2025-11-25",
				Capabilities:    json.RawMessage(`{"roots":{"listChanged":true}}`),
			},
			Data: map[string]json.RawMessage{
				"basket": json.RawMessage(`["coat","hat"]`),
				"count":  json.RawMessage(`2`),
			},
		},
		Idle: longLife, Lifetime: 2 * longLife,
		ID: newOpID(),
	}
	for _, mod := range mods {
		mod(&op)
	}
	if op.Record.Ref == k.Ref {
		op.Record.Ref = newRef(e, routing(op.Record.User))
	}
	return op
}

// create creates a record and returns it as Get does.
func (e *env) create(mods ...func(*state.CreateOp)) state.Record {
	e.Helper()
	op := e.createOp(mods...)
	e.must(op)
	return e.live(op.Target())
}

// brief gives a record a life that the check can wait out.
func (e *env) brief(op *state.CreateOp) { op.Idle, op.Lifetime = e.life(), e.life() }

func user(name string) func(*state.CreateOp) {
	return func(op *state.CreateOp) { op.Record.User = name }
}

func ofKind(name string) func(*state.CreateOp) {
	return func(op *state.CreateOp) { op.Record.Kind = name }
}

func at(k state.Key) func(*state.CreateOp) {
	return func(op *state.CreateOp) { op.Record.Namespace, op.Record.Ref = k.Namespace, k.Ref }
}

func limit(l state.Limit) func(*state.CreateOp) {
	return func(op *state.CreateOp) { op.Limit = l }
}

// createEnded creates a record whose result is not looked up: for records with
// a brief life, which may be over before one could.
func (e *env) createEnded(mods ...func(*state.CreateOp)) state.CreateOp {
	e.Helper()
	op := e.createOp(mods...)
	e.must(op)
	// Whatever caches has it now. It may be over already.
	if _, err := e.store.Get(e.ctx, op.Target()); err != nil && !errors.Is(err, state.ErrNotFound) {
		e.Fatalf("Get: %v", err)
	}
	e.expire(e.life())
	return op
}

// must applies op and ends the check if it fails.
func (e *env) must(op state.Op) state.Result {
	e.Helper()
	r := e.apply(op)
	if r.Err != nil {
		e.Fatalf("%T: got error %v, want none", op, r.Err)
	}
	return r
}

// apply applies one operation and remembers how new the record is.
func (e *env) apply(op state.Op) state.Result {
	e.Helper()
	rs := e.store.Apply(e.ctx, op)
	if len(rs) != 1 {
		e.Fatalf("Apply of one %T: got %d results, want 1", op, len(rs))
	}
	if op != nil {
		e.note(op.Target(), rs[0])
	}
	return rs[0]
}

func (e *env) note(k state.Key, r state.Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Err == nil {
		e.seen[k] = max(e.seen[k], r.Stamp.Revision)
	}
}

// fails applies op, which must fail with the sentinel given and change
// nothing, and returns the error.
func (e *env) fails(op state.Op, want error) error {
	e.Helper()
	before, beforeErr := e.store.Get(e.ctx, op.Target())
	r := e.apply(op)
	if !errors.Is(r.Err, want) {
		e.Fatalf("%T: got error %v, want %v", op, r.Err, want)
	}
	if len(r.Ended) != 0 {
		e.Fatalf("%T failed with %v but says that it ended %d records; a failed operation changes nothing", op, r.Err, len(r.Ended))
	}
	if e.g.Staleness > 0 {
		return r.Err // two reads may differ though nothing changed
	}
	after, afterErr := e.store.Get(e.ctx, op.Target())
	if (beforeErr == nil) != (afterErr == nil) {
		e.Fatalf("%T failed with %v but changed the record: Get said %v before and %v after", op, r.Err, beforeErr, afterErr)
	}
	if beforeErr == nil {
		if d := diff(after, before); d != "" {
			e.Fatalf("%T failed with %v but changed the record: %s", op, r.Err, d)
		}
	}
	return r.Err
}

// live returns the record, which must exist.
func (e *env) live(k state.Key) state.Record {
	e.Helper()
	e.mu.Lock()
	newest := e.seen[k]
	e.mu.Unlock()
	var r state.Record
	e.settled(func() (err error) {
		r, err = e.store.Get(e.ctx, k)
		switch {
		case err != nil:
			return fmt.Errorf("get of a live record: got error %v, want none", err)
		case r.Revision < newest:
			return fmt.Errorf("get: got revision %d, but %d has been acknowledged", r.Revision, newest)
		case r.Key() != k:
			return fmt.Errorf("get of %v: got %v", k, r.Key())
		}
		return e.shape(&r)
	})
	return r
}

// gone returns the End of a record that must not exist; nil if the store
// remembers nothing of it.
func (e *env) gone(k state.Key) *state.End {
	e.Helper()
	var end *state.End
	e.settled(func() error {
		r, err := e.store.Get(e.ctx, k)
		if err == nil {
			return fmt.Errorf("get: got a record of version %d, want not found", r.Version)
		}
		if !errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("get: got error %v, want not found", err)
		}
		var nf *state.NotFoundError
		if errors.As(err, &nf) {
			end = nf.End
		}
		return nil
	})
	return end
}

// ended returns the End of a record that must not exist but be remembered.
func (e *env) ended(k state.Key) state.End {
	e.Helper()
	end := e.gone(k)
	if end == nil {
		e.Fatalf("Get of an ended record: the error has no End, want a *NotFoundError with one for %v", state.TombstoneTTL)
	}
	return *end
}

// settled ends the check unless cond holds. If the store declares that reads
// may be stale it waits until they no longer can be.
func (e *env) settled(cond func() error) {
	e.Helper()
	deadline := time.Now().Add(e.g.Staleness)
	for {
		err := cond()
		if err == nil {
			return
		}
		if e.g.Staleness == 0 || time.Now().After(deadline.Add(5*time.Second)) || e.ctx.Err() != nil {
			e.Fatal(err)
		}
		e.pause(5 * time.Millisecond)
	}
}

// pause lets a poll breathe.
func (e *env) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ctx.Done():
	}
}
