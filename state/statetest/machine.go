package statetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func modelChecks() []check {
	return []check{{"RandomOperations", modelRandom, manualClock}}
}

// modelRandom plays random operations on the store and on the model, and
// compares every answer. rapid shrinks what fails to a short sequence.
func modelRandom(e *env) {
	rapid.Check(e.TB, func(t *rapid.T) {
		ns := newNamespace()
		m := &machine{env: e, ns: ns, model: newModel(e.clock.Now)}
		t.Repeat(map[string]func(*rapid.T){
			"":        m.compare,
			"apply":   m.applyOne,
			"again":   m.applyOne, // operations are what it is about
			"limited": m.createLimited,
			"more":    m.createLimited,
			"get":     m.get,
			"batch":   m.applyBatch,
			"advance": m.advance,
			"sweep":   m.sweep,
			"list":    m.list,
		})
		m.compareAll(t)
	})
}

// A machine plays on one namespace.
type machine struct {
	env   *env
	ns    string
	model *model
	refs  []state.Ref // used so far
	count byte        // makes refs, hashes and values that are all different
}

// fresh returns bytes that no call before returned, the same in each replay.
func (m *machine) fresh() [32]byte {
	m.count++
	return sha256.Sum256([]byte{m.count, byte(len(m.refs))})
}

func (m *machine) newKey(t *rapid.T) state.Key {
	b := m.fresh()
	// One routing byte for all, since any ref may be used for any user.
	ref, err := state.NewRef(7, bytes.NewReader(b[:]))
	if err != nil {
		t.Fatal(err)
	}
	m.refs = append(m.refs, ref)
	return state.Key{Namespace: m.ns, Ref: ref}
}

// anyKey draws a ref that was used before, or a new one.
func (m *machine) anyKey(t *rapid.T) state.Key {
	i := rapid.IntRange(-1, len(m.refs)-1).Draw(t, "ref")
	if i < 0 {
		return m.newKey(t)
	}
	return state.Key{Namespace: m.ns, Ref: m.refs[i]}
}

// version draws a version near the record's, mostly the record's.
func (m *machine) version(t *rapid.T, k state.Key) uint64 {
	var v uint64 = 1
	if r := m.model.recs[k.Ref]; r != nil {
		v = r.Version
	}
	return v + rapid.SampledFrom([]uint64{0, 0, 0, 1, ^uint64(0)}).Draw(t, "version off")
}

func (m *machine) epoch(t *rapid.T, k state.Key, exact bool) uint64 {
	var epoch uint64
	if r := m.model.recs[k.Ref]; r != nil {
		epoch = r.Epoch
	}
	if !exact && rapid.Bool().Draw(t, "no epoch") {
		return 0
	}
	return epoch + rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(t, "epoch off")
}

func (m *machine) duration(t *rapid.T, what string) time.Duration {
	return rapid.SampledFrom([]time.Duration{
		time.Millisecond, 1500 * time.Microsecond, time.Minute, time.Hour, 3 * time.Hour, 30 * time.Hour, 30 * time.Hour, 90 * time.Hour,
	}).Draw(t, what)
}

func (m *machine) data() map[string]json.RawMessage {
	return data("n", fmt.Sprint(m.count))
}

func (m *machine) opID(t *rapid.T) (id state.OpID) {
	if rapid.Bool().Draw(t, "with id") {
		b := m.fresh()
		copy(id[:], b[:])
	}
	return id
}

func (m *machine) createOp(t *rapid.T) state.CreateOp {
	user := rapid.SampledFrom([]string{"ann", "ann", "ann", "ann", "bob", "\x00\xff", ""}).Draw(t, "user")
	k := m.newKey(t)
	if len(m.refs) > 1 && rapid.IntRange(0, 3).Draw(t, "taken") == 0 {
		k = m.anyKey(t)
	}
	return state.CreateOp{
		Record: state.Record{
			Namespace: m.ns, Ref: k.Ref, User: user, Data: m.data(), Secret: state.Secret{Hash: m.fresh()},
			Kind: rapid.SampledFrom([]string{"session", "session", "session", "session", "basket", "_node"}).Draw(t, "kind"),
			Meta: state.Metadata{Address: netip.AddrFrom4([4]byte{192, 0, 2, m.count}), UserAgent: "model"},
		},
		Idle: m.duration(t, "idle"), Lifetime: m.duration(t, "lifetime"), ID: m.opID(t), By: "model",
	}
}

func (m *machine) importOp(t *rapid.T) state.ImportOp {
	c := m.createOp(t)
	r := c.Record
	now := m.model.now()
	r.Stamp = state.Stamp{
		Version:          rapid.Uint64Range(1, 5).Draw(t, "version"),
		Created:          state.Cut(now.Add(-time.Hour)),
		LastAccessed:     state.Cut(now.Add(-time.Minute)),
		IdleDeadline:     state.Cut(now.Add(c.Idle - time.Minute)),
		AbsoluteDeadline: state.Cut(now.Add(c.Lifetime)),
	}
	r.Secret.Previous, r.Secret.PreviousUntil = m.fresh(), state.Cut(now.Add(time.Hour))
	r.LastOp = c.ID
	return state.ImportOp{Record: r}
}

func (m *machine) updateOp(t *rapid.T) state.UpdateOp {
	k := m.anyKey(t)
	op := state.UpdateOp{Key: k, Version: m.version(t, k), Epoch: m.epoch(t, k, false), ID: m.opID(t)}
	parts := rapid.IntRange(0, 7).Draw(t, "parts")
	if parts&1 != 0 {
		m.count++
		op.Data = m.data()
	}
	if parts&2 != 0 {
		m.count++
		op.Meta = &state.Metadata{UserAgent: fmt.Sprint("agent ", m.count)}
	}
	if parts&4 != 0 {
		op.Rotate = &state.Rotation{Hash: m.fresh(), Grace: rapid.SampledFrom([]time.Duration{0, time.Minute, 5 * time.Hour}).Draw(t, "grace")}
	}
	return op
}

// anyOp draws an operation without a limit.
func (m *machine) anyOp(t *rapid.T) state.Op {
	k := state.Key{}
	switch what := rapid.IntRange(0, 9).Draw(t, "operation"); what {
	case 0, 1, 2:
		return m.createOp(t)
	case 3:
		return m.importOp(t)
	case 4, 5:
		return m.updateOp(t)
	case 6:
		k = m.anyKey(t)
		return state.TouchOp{Key: k, Idle: m.duration(t, "idle"), Epoch: m.epoch(t, k, false)}
	case 7:
		k = m.anyKey(t)
		return state.ExtendOp{Key: k, For: m.duration(t, "for"), Max: m.duration(t, "max"), Epoch: m.epoch(t, k, false)}
	case 8:
		k = m.anyKey(t)
		return state.SetOwnerOp{Key: k, Epoch: m.epoch(t, k, true), Owner: rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "owner")}
	default:
		k = m.anyKey(t)
		return state.DeleteOp{Key: k, Reason: state.ReasonRevoked, By: "model", Epoch: m.epoch(t, k, false), ID: m.opID(t)}
	}
}

func (m *machine) applyOne(t *rapid.T) { m.play(t, m.anyOp(t)) }

func (m *machine) createLimited(t *rapid.T) {
	if rapid.Bool().Draw(t, "later") {
		m.env.clock.Advance(time.Second) // so that there is an oldest
	}
	op := m.createOp(t)
	op.Limit = state.Limit{
		PerUser: rapid.IntRange(0, 3).Draw(t, "per user"),
		Refuse:  rapid.Bool().Draw(t, "refuse"),
		Total:   rapid.SampledFrom([]int{0, 0, 2, 5}).Draw(t, "total"),
	}
	m.play(t, op)
}

func (m *machine) applyBatch(t *rapid.T) {
	ops := make([]state.Op, rapid.IntRange(2, 7).Draw(t, "operations"))
	for i := range ops {
		ops[i] = m.anyOp(t)
	}
	m.play(t, ops...)
}

// play applies operations to both and compares the results. Operations are
// only given on refs of which it is certain what the store remembers.
func (m *machine) play(t *rapid.T, ops ...state.Op) {
	for _, op := range ops {
		if m.model.vague(op.Target().Ref) {
			t.Skip("a sweep may have forgotten the tombstone or not")
		}
	}
	got := m.env.store.Apply(m.env.ctx, ops...)
	if len(got) != len(ops) {
		t.Fatalf("Apply of %d operations: got %d results", len(ops), len(got))
	}
	for i, op := range ops {
		m.sameResult(t, op, got[i])
	}
}

func (m *machine) sameResult(t *rapid.T, op state.Op, got state.Result) {
	ref := op.Target().Ref
	var before uint64
	if r := m.model.recs[ref]; r != nil {
		before = r.Revision
	}
	want := m.model.apply(op)
	if (got.Err == nil) != (want.Err == nil) || !errors.Is(got.Err, sentinel(want.Err)) {
		t.Fatalf("%T: got error %v, want %v", op, got.Err, want.Err)
	}
	if len(got.Ended) != len(want.Ended) {
		t.Fatalf("%T: got %d ends, want %d", op, len(got.Ended), len(want.Ended))
	}
	for i := range want.Ended {
		if d := diffEnd(got.Ended[i], want.Ended[i]); d != "" {
			t.Fatalf("%T: end %d: %s", op, i, d)
		}
	}
	if r := m.model.recs[ref]; r != nil && got.Err == nil && want.Stamp.Version != 0 {
		if got.Stamp.Revision <= before {
			t.Fatalf("%T: the revision went from %d to %d, want it to rise", op, before, got.Stamp.Revision)
		}
		r.Revision, want.Stamp.Revision = got.Stamp.Revision, got.Stamp.Revision
		if d := diffStamp(got.Stamp, want.Stamp); d != "" {
			t.Fatalf("%T: %s", op, d)
		}
	}
}

// sentinel returns what [errors.Is] finds in the error.
func sentinel(err error) error {
	for _, s := range []error{
		state.ErrNotFound, state.ErrExists, state.ErrConflict, state.ErrFenced, state.ErrLimit, state.ErrTooLarge, state.ErrInvalid,
	} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}

func (m *machine) advance(t *rapid.T) {
	now := m.model.now()
	if len(m.model.recs) > 0 && rapid.Bool().Draw(t, "to a deadline") {
		i := rapid.IntRange(0, len(m.refs)-1).Draw(t, "ref")
		if r := m.model.live(m.refs[i]); r != nil {
			off := rapid.SampledFrom([]time.Duration{-time.Millisecond, -time.Nanosecond, 0}).Draw(t, "off")
			m.env.clock.AdvanceTo(r.Expires().Add(off))
			return
		}
	}
	d := rapid.SampledFrom([]time.Duration{
		time.Microsecond, time.Millisecond, 30 * time.Second, time.Hour, 5 * time.Hour, 23 * time.Hour, 25 * time.Hour,
	}).Draw(t, "by")
	m.env.clock.AdvanceTo(now.Add(d))
}

func (m *machine) sweep(t *rapid.T) {
	o := state.SweepOptions{
		Namespace: m.ns,
		Kind:      rapid.SampledFrom([]string{"", "", "session"}).Draw(t, "kind"),
		Max:       rapid.IntRange(0, 3).Draw(t, "max"),
	}
	due := m.model.expired(o.Kind)
	m.model.sweeping()
	ends, err := m.env.store.Sweep(m.env.ctx, o)
	if err != nil || len(ends) != min(len(due), o.Limit()) {
		t.Fatalf("Sweep of at most %d of %d expired: got %d ends and error %v", o.Limit(), len(due), len(ends), err)
	}
	for _, end := range ends {
		want, ok := due[end.Key.Ref]
		if !ok {
			t.Fatalf("Sweep: ended %v, which has not expired or was ended before", end.Key)
		}
		if d := diffEnd(end, want); d != "" {
			t.Fatalf("Sweep: %s", d)
		}
		delete(due, end.Key.Ref)
		m.model.swept(end)
	}
}

func (m *machine) list(t *rapid.T) {
	q := state.Query{
		Namespace: m.ns,
		Kind:      rapid.SampledFrom([]string{"", "session", "_node"}).Draw(t, "kind"),
		Owner:     rapid.SampledFrom([]string{"", "", "one"}).Draw(t, "owner"),
		Expired:   rapid.Bool().Draw(t, "expired"),
		Max:       rapid.IntRange(0, 3).Draw(t, "max"),
	}
	if rapid.Bool().Draw(t, "of a user") {
		name := rapid.SampledFrom([]string{"", "ann", "\x00\xff"}).Draw(t, "user")
		q.User = &name
	}
	if len(m.refs) > 0 && rapid.Bool().Draw(t, "after") {
		q.After = m.anyKey(t).Ref
	}
	m.sameList(t, q)
}

func (m *machine) sameList(t *rapid.T, q state.Query) {
	want := m.model.list(q)
	i := 0
	for r, err := range m.env.store.List(m.env.ctx, q) {
		switch {
		case errors.Is(err, state.ErrUnsupported):
			return
		case err != nil:
			t.Fatalf("List by %s: %v", describe(q), err)
		case i >= len(want):
			t.Fatalf("List by %s: got more than %d records", describe(q), len(want))
		}
		if d := diff(r, want[i]); d != "" {
			t.Fatalf("List by %s: record %d: %s", describe(q), i, d)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("List by %s: got %d records, want %d", describe(q), i, len(want))
	}
}

// compare looks at the whole state.
func (m *machine) compare(t *rapid.T) { m.sameList(t, state.Query{Namespace: m.ns}) }

// compareAll looks at it ref by ref, too.
func (m *machine) compareAll(t *rapid.T) {
	for _, ref := range m.refs {
		m.sameRecord(t, ref)
	}
}

func (m *machine) get(t *rapid.T) { m.sameRecord(t, m.anyKey(t).Ref) }

func (m *machine) sameRecord(t *rapid.T, ref state.Ref) {
	got, err := m.env.store.Get(m.env.ctx, state.Key{Namespace: m.ns, Ref: ref})
	want := m.model.live(ref)
	if want == nil {
		if !errors.Is(err, state.ErrNotFound) {
			t.Fatalf("Get of a record that does not exist: got error %v, want not found", err)
		}
		m.sameEnd(t, ref, err)
		return
	}
	if err != nil {
		t.Fatalf("Get of a live record: %v", err)
	}
	w := want.Clone()
	w.Secret = w.Secret.At(m.model.now())
	if d := diff(got, w); d != "" {
		t.Fatalf("Get: %s", d)
	}
}

func (m *machine) sameEnd(t *rapid.T, ref state.Ref, err error) {
	if m.model.vague(ref) {
		return
	}
	var nf *state.NotFoundError
	var got *state.End
	if errors.As(err, &nf) {
		got = nf.End
	}
	want := m.model.end(ref)
	switch {
	case (got == nil) != (want == nil):
		t.Fatalf("Get of a record that does not exist: the error has End %v, want %v", got != nil, want != nil)
	case want != nil:
		if d := diffEnd(*got, *want); d != "" {
			t.Fatalf("End of a record that does not exist: %s", d)
		}
	}
}
