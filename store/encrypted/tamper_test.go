package encrypted_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
)

// sentinels are the distinct reasons for a refusal.
var sentinels = []error{
	encrypted.ErrTampered, encrypted.ErrUnknownKey, encrypted.ErrRevokedKey, encrypted.ErrNotSealed, encrypted.ErrRolledBack,
}

// refused checks that a Get is refused for the reason given and for no other,
// that it returns nothing, and that OnRefusal has heard of it.
func (r *rig) refused(t testing.TB, key state.Key, want error) {
	t.Helper()
	r.refusals()
	got, err := r.Get(context.Background(), key)
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	for _, other := range sentinels {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%v is %v too", err, other)
		}
	}
	if errors.Is(err, state.ErrNotFound) {
		t.Fatalf("%v looks like a record that is not there", err)
	}
	if got.User != "" || got.Data != nil || got.Meta.UserAgent != "" || got.Version != 0 {
		t.Fatalf("refused, and yet returned %+v", got)
	}
	heard := r.refusals()
	if len(heard) != 1 || heard[0].Key != key || !errors.Is(&heard[0], want) {
		t.Fatalf("OnRefusal heard %+v", heard)
	}
	for _, private := range []string{"alice", "coat", "192.0.2.77", "inspector"} {
		if strings.Contains(err.Error(), private) {
			t.Fatalf("the error tells: %v", err)
		}
	}
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	n := len(r.stored(t, key).Sealed)
	for i := range n {
		for _, bit := range []byte{0x01, 0x10, 0x80} {
			r.inner.meddle(func(rec *state.Record) { rec.Sealed[i] ^= bit })
			_, err := r.Get(t.Context(), key)
			if !errors.Is(err, encrypted.ErrTampered) && !errors.Is(err, encrypted.ErrUnknownKey) {
				t.Fatalf("byte %d of %d with bit %x flipped: got error %v", i, n, bit, err)
			}
			if len(r.refusals()) != 1 {
				t.Fatalf("byte %d: OnRefusal did not hear of it once", i)
			}
		}
		r.inner.meddle(func(rec *state.Record) { rec.Sealed = rec.Sealed[:max(i, 1)] })
		r.refused(t, key, encrypted.ErrTampered)
	}
	r.inner.meddle(func(rec *state.Record) { rec.Sealed = append(rec.Sealed, 0) })
	r.refused(t, key, encrypted.ErrTampered)
	r.inner.meddle(nil)
	if got := get(t, r, key); got.User != "alice" {
		t.Fatal("the record itself was damaged")
	}
}

func TestSealedPartsCannotBeMoved(t *testing.T) {
	r := newRig(t, encrypted.Options{Remember: -1})
	victim, other := creation(t, "alice"), creation(t, "mallory")
	other.Record.Secret = victim.Record.Secret
	sameUser := creation(t, "alice")
	sameUser.Record.Secret = victim.Record.Secret
	elsewhere := victim
	elsewhere.Record.Namespace = "elsewhere"
	basket := sameUser
	basket.Record.Kind, basket.Record.Ref = "basket", newRef(t)
	for _, op := range []state.CreateOp{victim, other, sameUser, elsewhere, basket} {
		do(t, r, op)
	}
	key := victim.Target()
	first := r.stored(t, key)
	do(t, r, state.UpdateOp{Key: key, Version: 1, Data: victim.Record.Data})
	for name, from := range map[string]state.Record{
		"another user's record":        r.stored(t, other.Target()),
		"another record of the user":   r.stored(t, sameUser.Target()),
		"the record in a namespace":    r.stored(t, elsewhere.Target()),
		"a record of another kind":     r.stored(t, basket.Target()),
		"an older version":             first,
		"an older version and its tag": {User: first.User, Sealed: first.Sealed},
	} {
		t.Run(name, func(t *testing.T) {
			r.inner.meddle(func(rec *state.Record) { rec.Sealed = from.Sealed })
			r.refused(t, key, encrypted.ErrTampered)
			r.inner.meddle(func(rec *state.Record) { rec.Sealed, rec.User = from.Sealed, from.User })
			r.refused(t, key, encrypted.ErrTampered)
		})
	}
}

func TestClearPartsThatAreBoundCannotBeChanged(t *testing.T) {
	r := newRig(t, encrypted.Options{Remember: -1})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	do(t, r, state.UpdateOp{Key: key, Version: 1, Rotate: &state.Rotation{Hash: state.Hash{9}, Grace: time.Hour}})
	for name, change := range map[string]func(*state.Record){
		"kind":            func(rec *state.Record) { rec.Kind = "basket" },
		"version up":      func(rec *state.Record) { rec.Version++ },
		"version down":    func(rec *state.Record) { rec.Version-- },
		"user":            func(rec *state.Record) { rec.User = "mallory" },
		"no user":         func(rec *state.Record) { rec.User = "" },
		"secret":          func(rec *state.Record) { rec.Secret.Hash = state.Hash{1} },
		"no secret":       func(rec *state.Record) { rec.Secret.Hash = state.Hash{} },
		"previous secret": func(rec *state.Record) { rec.Secret.Previous = state.Hash{1} },
		"creation":        func(rec *state.Record) { rec.Created = rec.Created.Add(time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			r.inner.meddle(change)
			r.refused(t, key, encrypted.ErrTampered)
		})
	}
	r.inner.meddle(func(rec *state.Record) {
		rec.Meta = state.Metadata{UserAgent: "planted", Address: netip.MustParseAddr("198.51.100.1")}
		rec.Data = map[string]json.RawMessage{"cart": json.RawMessage(`"planted"`)}
	})
	if got := get(t, r, key); string(got.Data["cart"]) != `["coat","hat"]` || got.Meta.UserAgent != "inspector/1.2" {
		t.Error("what was planted beside the sealed content was read")
	}
}

// What is said in the package comment to be unbound is: a test that would fail
// if it were bound, so that the comment stays true.
func TestWhatCannotBeBoundIsBelieved(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	r.inner.meddle(func(rec *state.Record) {
		rec.Owner, rec.Epoch = "mallory", 7
		rec.AbsoluteDeadline = rec.AbsoluteDeadline.Add(1000 * time.Hour)
		rec.IdleDeadline, rec.LastAccessed = rec.AbsoluteDeadline, rec.LastAccessed.Add(time.Minute)
		rec.LastOp = state.OpID{1}
	})
	if got := get(t, r, key); got.Epoch != 7 || got.User != "alice" {
		t.Errorf("got %+v", got)
	}
}

func TestMaxLifetimeBoundsDeadlines(t *testing.T) {
	r := newRig(t, encrypted.Options{MaxLifetime: 48 * time.Hour})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	do(t, r, state.ExtendOp{Key: key, For: 40 * time.Hour, Max: 48 * time.Hour})
	get(t, r, key)

	for version := range uint64(2) {
		r.inner.meddle(func(rec *state.Record) { rec.AbsoluteDeadline = rec.Created.Add(48*time.Hour + time.Millisecond) })
		r.refused(t, key, encrypted.ErrTampered)
		r.inner.meddle(func(rec *state.Record) { // with the creation moved along
			rec.Created, rec.AbsoluteDeadline = rec.Created.Add(25*time.Hour), rec.AbsoluteDeadline.Add(25*time.Hour)
		})
		r.refused(t, key, encrypted.ErrTampered)
		r.inner.meddle(nil)
		do(t, r, state.UpdateOp{Key: key, Version: version + 1})
	}
	long := creation(t, "alice")
	long.Lifetime = 49 * time.Hour
	imported := r.stored(t, key)
	imported.AbsoluteDeadline, imported.Sealed = imported.Created.Add(49*time.Hour), nil
	for name, op := range map[string]state.Op{
		"create": long, "extend": state.ExtendOp{Key: key, For: time.Hour, Max: 49 * time.Hour}, "import": state.ImportOp{Record: imported},
	} {
		if _, err := state.Do(t.Context(), r, op); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s for longer than is allowed: %v", name, err)
		}
	}
}

func TestKeysThatAreNotThere(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	old := r.ring.Active().ID()

	stranger := wrap(t, r.inner, newRing(t), encrypted.Options{})
	_, err := stranger.Get(ctx, key)
	if !errors.Is(err, encrypted.ErrUnknownKey) || !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), old) {
		t.Errorf("another ring: %v", err)
	}
	if _, err := r.ring.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(t, r, key); got.User != "alice" {
		t.Error("a retired key does not open")
	}
	if err := r.ring.Revoke(ctx, old); err != nil {
		t.Fatal(err)
	}
	r.refused(t, key, encrypted.ErrRevokedKey)
	if _, err := r.Get(ctx, key); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("%v is not ErrCorrupt", err)
	}
}

func TestPlainRecordsAreRefused(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	do(t, r.inner, op)
	r.refused(t, op.Target(), encrypted.ErrNotSealed)
	sealed := creation(t, "alice")
	do(t, r, sealed)
	r.inner.meddle(func(rec *state.Record) { rec.Sealed = nil })
	r.refused(t, sealed.Target(), encrypted.ErrNotSealed)
	if _, err := state.Do(t.Context(), r, state.UpdateOp{Key: op.Target(), Version: 1, Data: op.Record.Data}); !errors.Is(err, encrypted.ErrNotSealed) {
		t.Errorf("update: %v", err)
	}
}

func TestUpdateOfATamperedRecordWritesNothing(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	before := r.stored(t, key)
	r.inner.meddle(func(rec *state.Record) { rec.Sealed[len(rec.Sealed)-1] ^= 1 })
	meta := state.Metadata{}
	_, err := state.Do(t.Context(), r, state.UpdateOp{Key: key, Version: 1, Data: op.Record.Data, Meta: &meta})
	if !errors.Is(err, encrypted.ErrTampered) {
		t.Errorf("got %v", err)
	}
	r.inner.meddle(nil)
	if after := r.stored(t, key); fmt.Sprint(after.Stamp.Revision, after.Sealed) != fmt.Sprint(before.Stamp.Revision, before.Sealed) {
		t.Error("the record was written")
	}
}

// One bad record does not hide the others, nor is it passed over in silence.
func TestListYieldsWhatCanBeOpened(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	bad := map[state.Ref]bool{}
	for i := range 9 {
		op := creation(t, "alice")
		do(t, r, op)
		bad[op.Record.Ref] = i%3 == 0
	}
	r.inner.meddle(func(rec *state.Record) {
		if bad[rec.Ref] {
			rec.Sealed[50] ^= 1
		}
	})
	got, last := 0, error(nil)
	for rec, err := range r.List(t.Context(), state.Query{Namespace: namespace}) {
		if last != nil {
			t.Fatal("went on after an error")
		}
		if last = err; err == nil {
			got++
			if bad[rec.Ref] || rec.User != "alice" {
				t.Errorf("yielded %+v", rec)
			}
		}
	}
	if got != 6 || !errors.Is(last, encrypted.ErrTampered) || !strings.Contains(fmt.Sprint(last), "3 could not") {
		t.Errorf("%d records, then %v", got, last)
	}
	if n := len(r.refusals()); n != 3 {
		t.Errorf("OnRefusal heard of %d", n)
	}
}

func TestRollbackIsNoticedWhereANewerVersionIsRemembered(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	first := r.stored(t, key)
	do(t, r, state.UpdateOp{Key: key, Version: 1, Data: op.Record.Data})
	putBack := func(rec *state.Record) { *rec = first }
	r.inner.meddle(putBack)
	r.refused(t, key, encrypted.ErrRolledBack)
	_, err := state.Do(t.Context(), r, state.UpdateOp{Key: key, Version: 1, Data: op.Record.Data})
	if !errors.Is(err, encrypted.ErrRolledBack) {
		t.Errorf("update: %v", err)
	}

	// Another process has seen nothing, and cannot tell.
	fresh := wrap(t, r.inner, r.ring, encrypted.Options{})
	if got := get(t, fresh, key); got.Version != 1 {
		t.Errorf("got version %d", got.Version)
	}
	heard := 0
	lenient := wrap(t, r.inner, r.ring, encrypted.Options{ServeRolledBack: true, OnRefusal: func(context.Context, encrypted.Refusal) { heard++ }})
	r.inner.meddle(nil)
	get(t, lenient, key)
	r.inner.meddle(putBack)
	if got := get(t, lenient, key); got.User != "alice" || heard != 1 {
		t.Errorf("got %+v, and OnRefusal heard of it %d times", got, heard)
	}
}

func TestResurrectionIsNoticedWhereTheEndIsRemembered(t *testing.T) {
	for name, end := range map[string]func(r *rig, op state.CreateOp){
		"deleted": func(r *rig, op state.CreateOp) {
			do(t, r, state.DeleteOp{Key: op.Target(), Reason: state.ReasonLogout})
		},
		"evicted": func(r *rig, op state.CreateOp) {
			next := creation(t, op.Record.User)
			next.Limit.PerUser = 1
			do(t, r, next)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, encrypted.Options{})
			op := creation(t, name)
			do(t, r, op)
			kept := r.stored(t, op.Target())
			end(r, op)
			r.inner.plant(kept)
			r.refused(t, op.Target(), encrypted.ErrRolledBack)
			fresh := wrap(t, r.inner, r.ring, encrypted.Options{})
			if got := get(t, fresh, op.Target()); got.User != name {
				t.Errorf("the record did not come back at all: %+v", got)
			}
		})
	}
}

func TestMemoryOfVersionsIsBounded(t *testing.T) {
	r := newRig(t, encrypted.Options{Remember: 64})
	op := creation(t, "alice")
	key := op.Target()
	do(t, r, op)
	first := r.stored(t, key)
	do(t, r, state.UpdateOp{Key: key, Version: 1, Data: op.Record.Data})
	for range 1000 {
		do(t, r, creation(t, ""))
	}
	r.inner.meddle(func(rec *state.Record) { *rec = first })
	if got := get(t, r, key); got.Version != 1 {
		t.Errorf("remembered for longer than it can have room: version %d", got.Version)
	}
}
