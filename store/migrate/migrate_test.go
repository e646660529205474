package migrate_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/migrate"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

const namespace = "shop"

// world is two stores on one clock.
type world struct {
	now      time.Time
	from, to state.Store
}

func newWorld(t interface{ Fatal(...any) }) *world {
	w := &world{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.from = memory.New(memory.Options{Clock: func() time.Time { return w.now }})
	w.to = memory.New(memory.Options{Clock: func() time.Time { return w.now }})
	return w
}

func newRef(t interface{ Fatal(...any) }) state.Ref {
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func key(ref state.Ref) state.Key { return state.Key{Namespace: namespace, Ref: ref} }

func creation(ref state.Ref, user string) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: namespace, Kind: "session", Ref: ref, User: user,
			Secret: state.Secret{Hash: hash(1)}, Meta: state.Metadata{UserAgent: "agent"},
			Data: map[string]json.RawMessage{"n": json.RawMessage("0")},
		},
		Idle: 100 * time.Hour, Lifetime: 1000 * time.Hour, ID: state.OpID{1},
	}
}

func hash(n int) state.Hash { return state.Hash{byte(n), byte(n >> 8), 1} }

func do(t interface{ Fatal(...any) }, s state.Store, op state.Op) state.Result {
	res, err := state.Do(context.Background(), s, op)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func pass(t interface{ Fatal(...any) }, w *world) migrate.Stats {
	stats, err := migrate.Pass(context.Background(), w.from, w.to, migrate.Options{Namespace: namespace, Page: 3})
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// comparable is what of a record must be the same in both stores.
func comparable(s state.Store, t interface{ Fatal(...any) }) map[state.Ref]string {
	all := map[state.Ref]string{}
	for r, err := range s.List(context.Background(), state.Query{Namespace: namespace}) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		all[r.Ref] = fmt.Sprintf("%s %q v%d op %x, created %v, until %v and %v, secret %x %x %v, %s %s",
			r.Kind, r.User, r.Version, r.LastOp, r.Created, r.IdleDeadline, r.AbsoluteDeadline,
			r.Secret.Hash[:3], r.Secret.Previous[:3], r.Secret.PreviousUntil, r.Meta.UserAgent, data)
	}
	return all
}

// Whatever happens to the source, and whenever passes are made, after one more
// the target is what the source is.
func TestAfterTheLastPassTheTargetIsWhatTheSourceIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.from.Close()
		defer w.to.Close()
		var refs []state.Ref
		serial := 1
		any := func() state.Ref {
			if len(refs) == 0 {
				t.Skip("nothing is there")
			}
			return rapid.SampledFrom(refs).Draw(t, "ref")
		}
		live := func(ref state.Ref) (state.Record, bool) {
			r, err := w.from.Get(context.Background(), key(ref))
			return r, err == nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				ref := newRef(t)
				do(t, w.from, creation(ref, rapid.SampledFrom([]string{"", "ann", "\xff"}).Draw(t, "user")))
				refs = append(refs, ref)
			},
			"update": func(t *rapid.T) {
				ref := any()
				r, ok := live(ref)
				if !ok {
					t.Skip("it has ended")
				}
				serial++
				op := state.UpdateOp{Key: key(ref), Version: r.Version, ID: state.OpID{2, byte(serial), byte(serial >> 8)}}
				if rapid.Bool().Draw(t, "data") {
					op.Data = map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(serial))}
					op.Meta = &state.Metadata{UserAgent: fmt.Sprint("agent ", serial)}
				}
				if rapid.Bool().Draw(t, "rotate") {
					op.Rotate = &state.Rotation{Hash: hash(serial), Grace: time.Duration(rapid.IntRange(0, 2).Draw(t, "grace")) * time.Hour}
				}
				do(t, w.from, op)
			},
			"touch": func(t *rapid.T) {
				if ref := any(); w.alive(ref) {
					do(t, w.from, state.TouchOp{Key: key(ref), Idle: 100 * time.Hour})
				}
			},
			"extend": func(t *rapid.T) {
				if ref := any(); w.alive(ref) {
					d := time.Duration(rapid.IntRange(200, 2000).Draw(t, "hours")) * time.Hour
					do(t, w.from, state.ExtendOp{Key: key(ref), For: d, Max: 5000 * time.Hour})
				}
			},
			"delete": func(t *rapid.T) {
				do(t, w.from, state.DeleteOp{Key: key(any()), Reason: state.ReasonLogout, By: "client"})
			},
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
			},
			"pass": func(t *rapid.T) { pass(t, w) },
		})
		pass(t, w)
		want, got := comparable(w.from, t), comparable(w.to, t)
		for ref, text := range want {
			if got[ref] != text {
				t.Fatalf("%v is\n%s in the source and\n%s in the target", ref, text, got[ref])
			}
		}
		if len(got) != len(want) {
			t.Fatalf("the target has %v, the source %v", slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
		}
		if again := pass(t, w); !again.Quiet() || again.Touched > 0 || again.Left > 0 || again.Expired > 0 {
			t.Fatalf("another pass finds %v", again)
		}
	})
}

func (w *world) alive(ref state.Ref) bool {
	_, err := w.from.Get(context.Background(), key(ref))
	return err == nil
}

func TestEndingsGoAlongWithTheirReason(t *testing.T) {
	w := newWorld(t)
	ref := newRef(t)
	do(t, w.from, creation(ref, "ann"))
	pass(t, w)
	do(t, w.from, state.DeleteOp{Key: key(ref), Reason: state.ReasonRevoked, By: "an operator"})
	if stats := pass(t, w); stats.Ended != 1 {
		t.Errorf("%v", stats)
	}
	_, err := w.to.Get(t.Context(), key(ref))
	var gone *state.NotFoundError
	if !errors.As(err, &gone) || gone.End == nil || gone.End.Reason != state.ReasonRevoked || gone.End.By != "an operator" {
		t.Errorf("in the target: %v", err)
	}
}

func TestWhatTheTargetHasOfItsOwnIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	own, owned, newer, revoked := newRef(t), newRef(t), newRef(t), newRef(t)
	for _, ref := range []state.Ref{owned, newer, revoked} {
		do(t, w.from, creation(ref, "ann"))
	}
	do(t, w.to, creation(own, "bob"))
	pass(t, w)
	do(t, w.to, state.SetOwnerOp{Key: key(owned), Owner: "a replica"})
	do(t, w.to, state.UpdateOp{Key: key(newer), Version: 1, Data: map[string]json.RawMessage{"n": json.RawMessage("7")}})
	do(t, w.to, state.DeleteOp{Key: key(revoked), Reason: state.ReasonRevoked})
	do(t, w.from, state.UpdateOp{Key: key(owned), Version: 1})
	before := comparable(w.to, t)
	if stats := pass(t, w); stats.Left != 3 || !stats.Quiet() {
		t.Errorf("%v", stats)
	}
	if after := comparable(w.to, t); !maps.Equal(before, after) {
		t.Errorf("the target was\n%v and is\n%v", before, after)
	}
}

func TestACopyThatExpiredBetweenPassesIsCounted(t *testing.T) {
	w := newWorld(t)
	ref := newRef(t)
	do(t, w.from, creation(ref, "ann"))
	pass(t, w)
	w.now = w.now.Add(60 * time.Hour)
	do(t, w.from, state.TouchOp{Key: key(ref), Idle: 100 * time.Hour})
	w.now = w.now.Add(60 * time.Hour)
	for range 2 { // swept or not
		if stats := pass(t, w); stats.Expired != 1 {
			t.Errorf("%v", stats)
		}
		if _, err := w.to.Sweep(t.Context(), state.SweepOptions{Namespace: namespace}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMigratedRecordsEndInTheSource(t *testing.T) {
	w := newWorld(t)
	opts := migrate.Options{Namespace: namespace, Page: 2}
	for range 7 {
		do(t, w.from, creation(newRef(t), "ann"))
	}
	if n, err := migrate.End(t.Context(), w.from, w.to, "tester", opts); err != nil || n != 0 {
		t.Errorf("ended %d that nobody has copied, %v", n, err)
	}
	pass(t, w)
	late := newRef(t)
	do(t, w.from, creation(late, "ann"))
	if n, err := migrate.End(t.Context(), w.from, w.to, "tester", opts); err != nil || n != 7 {
		t.Errorf("ended %d, %v", n, err)
	}
	if left := comparable(w.from, t); len(left) != 1 || left[late] == "" {
		t.Errorf("left: %v", left)
	}
	if stats := pass(t, w); stats.Ended != 0 || stats.Copied != 1 {
		t.Errorf("the next pass: %v", stats)
	}
	if got := comparable(w.to, t); len(got) != 8 {
		t.Errorf("the target has %d", len(got))
	}
}

// cut is a store that fails after so many writes.
type cut struct {
	state.Store
	left int
}

func (c *cut) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	out := make([]state.Result, len(ops))
	for i, op := range ops {
		if c.left <= 0 {
			out[i].Err = state.ErrUnavailable
			continue
		}
		c.left--
		out[i] = c.Store.Apply(ctx, op)[0]
	}
	return out
}

// Wherever it is cut off, another pass completes it.
func TestAPassThatWasCutOffIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	var refs []state.Ref
	for range 10 {
		refs = append(refs, newRef(t))
		do(t, w.from, creation(refs[len(refs)-1], "ann"))
	}
	pass(t, w)
	for i, ref := range refs {
		for v := range uint64(i) {
			do(t, w.from, state.UpdateOp{Key: key(ref), Version: v + 1, ID: state.OpID{byte(v + 1)}, Data: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(v))}})
		}
		do(t, w.from, creation(newRef(t), "bob"))
	}
	target := &cut{Store: w.to}
	for n := 0; ; n++ {
		target.left = n
		_, err := migrate.Pass(t.Context(), w.from, target, migrate.Options{Namespace: namespace, Page: 4})
		if err == nil {
			break
		}
		if !errors.Is(err, state.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if want, got := comparable(w.from, t), comparable(w.to, t); !maps.Equal(want, got) {
		t.Errorf("the target has\n%v, want\n%v", got, want)
	}
}

// counting notices how many records are listed at most in one call.
type counting struct {
	state.Store
	most int
}

func (c *counting) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		n := 0
		for r, err := range c.Store.List(ctx, q) {
			if n++; n > c.most {
				c.most = n
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestMemoryDoesNotGrowWithTheStores(t *testing.T) {
	w := newWorld(t)
	for i := range 500 {
		do(t, w.from, creation(newRef(t), "ann"))
		if i%2 == 0 {
			do(t, w.to, creation(newRef(t), "bob"))
		}
	}
	from, to := &counting{Store: w.from}, &counting{Store: w.to}
	stats, err := migrate.Pass(t.Context(), from, to, migrate.Options{Namespace: namespace, Page: 16})
	if err != nil || stats.Copied != 500 {
		t.Fatal(stats, err)
	}
	if from.most > 16 || to.most > 16 {
		t.Errorf("%d and %d records were held", from.most, to.most)
	}
}

// From a plain store to one that is encrypted, and to another namespace.
func TestPlainRecordsBecomeSealed(t *testing.T) {
	from := memory.New(memory.Options{})
	defer from.Close()
	ref := newRef(t)
	do(t, from, creation(ref, "ann"))
	file, err := sqlite.Open(t.Context(), t.TempDir()+"/x.db", sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	to, err := encrypted.New(file, ring, encrypted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	opts := migrate.Options{Namespace: namespace, To: "sealed"}
	for range 2 {
		if stats, err := migrate.Pass(t.Context(), from, to, opts); err != nil || stats.Left != 0 {
			t.Fatal(stats, err)
		}
		r, err := to.Get(t.Context(), state.Key{Namespace: "sealed", Ref: ref})
		original, fromErr := from.Get(t.Context(), key(ref))
		if err != nil || fromErr != nil || r.User != "ann" || r.Version != original.Version || string(r.Data["n"]) != string(original.Data["n"]) {
			t.Errorf("%+v, %v", r, err)
		}
		do(t, from, state.UpdateOp{Key: key(ref), Version: original.Version, Data: map[string]json.RawMessage{"n": json.RawMessage("5")}, ID: state.OpID{9}})
		do(t, from, state.UpdateOp{Key: key(ref), Version: original.Version + 1, Rotate: &state.Rotation{Hash: hash(8), Grace: time.Hour}})
	}
	if inner, err := file.Get(t.Context(), state.Key{Namespace: "sealed", Ref: ref}); err != nil || len(inner.Sealed) == 0 || inner.User == "ann" {
		t.Errorf("in the file: %+v, %v", inner, err)
	}
}

// Of two new secrets since the last pass, the first is the previous one: that
// before them opens nothing any more.
func TestOnlySecretsThatCountInTheSourceCountInTheTarget(t *testing.T) {
	w := newWorld(t)
	ref := newRef(t)
	do(t, w.from, creation(ref, "ann"))
	pass(t, w)
	for n := range 2 {
		do(t, w.from, state.UpdateOp{Key: key(ref), Version: uint64(n + 1), Rotate: &state.Rotation{Hash: hash(n + 2), Grace: time.Hour}})
	}
	pass(t, w)
	r, err := w.to.Get(t.Context(), key(ref))
	if err != nil || r.Secret.Hash != hash(3) || r.Secret.Previous != hash(2) || !r.Secret.PreviousUntil.Equal(w.now.Add(time.Hour)) {
		t.Errorf("%+v, %v", r.Secret, err)
	}
}
