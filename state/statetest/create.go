package statetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func createChecks() []check {
	return []check{
		{"StoresWhatIsGiven", createStores, 0},
		{"ComputesTheStamp", createStamps, 0},
		{"StampsByTheStoresClock", createStampsByClock, manualClock},
		{"CutsTimes", createCuts, 0},
		{"TakesOnlyWhatIsDocumented", createTakes, 0},
		{"StoresEmptyRecord", createEmpty, 0},
		{"LeavesOpID", createLeavesOp, 0},
		{"KeepsNothingItWasGiven", createCopies, 0},
		{"RefusesTakenRef", createRefusesTaken, 0},
		{"RefusesTakenRefOfOtherKind", createRefusesOtherKind, 0},
		{"RefusesExpiredRef", createRefusesExpired, 0},
		{"RefusesSweptRef", createRefusesSwept, 0},
		{"RefusesDeletedRef", createRefusesDeleted, 0},
		{"AllowsRefOfOtherNamespace", createOtherNamespace, 0},
		{"RefusesInvalid", createInvalid, 0},
	}
}

func createStores(e *env) {
	op := e.createOp()
	r := e.must(op)
	want := op.Record
	want.Stamp = r.Stamp
	want.LastOp = op.ID
	if d := diff(e.live(want.Key()), want); d != "" {
		e.Fatalf("Get after Create: %s", d)
	}
}

func createStamps(e *env) {
	op := e.createOp(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 3*time.Hour })
	s := e.must(op).Stamp
	if s.Version != 1 || s.Revision == 0 || s.Epoch != 0 {
		e.Fatalf("Create: got version %d, revision %d, epoch %d, want 1, at least 1, 0", s.Version, s.Revision, s.Epoch)
	}
	if err := e.stampShape(&s); err != nil {
		e.Fatalf("Create: %v", err)
	}
	want := op.Stamp(s.Created)
	want.Revision = s.Revision
	if d := diffStamp(s, want); d != "" {
		e.Fatalf("Create of a record with an idle timeout of %v and a lifetime of %v: %s", op.Idle, op.Lifetime, d)
	}
	op = e.createOp(func(op *state.CreateOp) { op.Idle, op.Lifetime = 3*time.Hour, time.Hour })
	s = e.must(op).Stamp
	if !s.IdleDeadline.Equal(s.Created.Add(time.Hour)) {
		e.Fatalf("Create with an idle timeout longer than the lifetime: got idle deadline %v, want the absolute deadline %v",
			s.IdleDeadline, s.Created.Add(time.Hour))
	}
}

func createStampsByClock(e *env) {
	e.pass(17 * time.Minute)
	s := e.must(e.createOp()).Stamp
	if !s.Created.Equal(e.now()) || !s.LastAccessed.Equal(e.now()) {
		e.Fatalf("Create at %v: got created %v and last accessed %v", e.now(), s.Created, s.LastAccessed)
	}
}

func createCuts(e *env) {
	op := e.createOp(func(op *state.CreateOp) {
		op.Idle, op.Lifetime = time.Hour+777*time.Microsecond, 2*time.Hour+999*time.Microsecond
	})
	s := e.must(op).Stamp
	if err := e.stampShape(&s); err != nil {
		e.Fatal(err)
	}
	want := op.Stamp(s.Created)
	if !s.IdleDeadline.Equal(want.IdleDeadline) || !s.AbsoluteDeadline.Equal(want.AbsoluteDeadline) {
		e.Fatalf("Create with durations finer than %v: got deadlines %v and %v, want %v and %v", state.Precision,
			s.IdleDeadline, s.AbsoluteDeadline, want.IdleDeadline, want.AbsoluteDeadline)
	}
}

func createTakes(e *env) {
	op := e.createOp(func(op *state.CreateOp) {
		long := time.Now().Add(1000 * time.Hour)
		op.Record.Stamp = state.Stamp{
			Version: 9, Revision: 99, Epoch: 7, Created: long, LastAccessed: long,
			IdleDeadline: long, AbsoluteDeadline: long, Remaining: time.Hour,
		}
		op.Record.Owner = "somebody"
		op.Record.LastOp = newOpID()
		op.Record.Secret.Previous = newHash()
		op.Record.Secret.PreviousUntil = long
	})
	e.must(op)
	r := e.live(op.Target())
	switch {
	case r.Version != 1 || r.Epoch != 0 || r.Owner != "":
		e.Fatalf("Create: got version %d, epoch %d, owner %q from the record given, want 1, 0 and none", r.Version, r.Epoch, r.Owner)
	case !r.Expires().Equal(r.Created.Add(op.Idle)):
		e.Fatalf("Create: got a life of %v, want %v", r.Expires().Sub(r.Created), op.Idle)
	case r.LastOp != op.ID:
		e.Fatal("Create: LastOp is not the ID of the operation")
	case !r.Secret.Previous.IsZero() || !r.Secret.PreviousUntil.IsZero():
		e.Fatal("Create: took Secret.Previous from the record given, want only Secret.Hash")
	}
}

func createEmpty(e *env) {
	k := e.key()
	op := state.CreateOp{
		Record: state.Record{Namespace: k.Namespace, Ref: k.Ref, Kind: kind},
		Idle:   longLife, Lifetime: longLife,
	}
	r := e.must(op)
	want := op.Record
	want.Stamp = r.Stamp
	if d := diff(e.live(k), want); d != "" {
		e.Fatalf("Get after Create of a record without content: %s", d)
	}
}

func createLeavesOp(e *env) {
	r := e.create(func(op *state.CreateOp) { op.ID = state.OpID{1, 2, 3} })
	if r.LastOp != (state.OpID{1, 2, 3}) {
		e.Fatalf("LastOp after Create: got %x, want the operation's ID", r.LastOp)
	}
	r = e.create(func(op *state.CreateOp) { op.ID = state.OpID{} })
	if !r.LastOp.IsZero() {
		e.Fatalf("LastOp after Create without an ID: got %x, want none", r.LastOp)
	}
}

func createCopies(e *env) {
	op := e.createOp()
	ops := []state.Op{op}
	if r := e.store.Apply(e.ctx, ops...)[0]; r.Err != nil {
		e.Fatal(r.Err)
	}
	want := e.live(op.Target())
	ops[0] = nil
	op.Record.Data["basket"] = json.RawMessage(`"changed"`)
	op.Record.Data["new"] = json.RawMessage(`1`)
	if d := diff(e.live(op.Target()), want); d != "" {
		e.Fatalf("the record changed with the caller's map after Create returned: %s", d)
	}
}

func createRefusesTaken(e *env) {
	r := e.create()
	e.fails(e.createOp(at(r.Key())), state.ErrExists)
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("still", `"mine"`)})
}

func createRefusesOtherKind(e *env) {
	r := e.create(ofKind("session"))
	e.fails(e.createOp(at(r.Key()), ofKind("basket")), state.ErrExists)
}

func createRefusesExpired(e *env) {
	op := e.createEnded(e.brief)
	e.fails(e.createOp(at(op.Target())), state.ErrExists)
	e.gone(op.Target())
}

func createRefusesSwept(e *env) {
	op := e.createEnded(e.brief)
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	e.fails(e.createOp(at(op.Target())), state.ErrExists)
	e.gone(op.Target())
}

func createRefusesDeleted(e *env) {
	r := e.create()
	e.delete(r.Key())
	e.fails(e.createOp(at(r.Key())), state.ErrExists)
	e.gone(r.Key())
}

func createOtherNamespace(e *env) {
	r := e.create()
	other := e.key()
	other.Ref, other.Namespace = r.Ref, newNamespace()
	o := e.create(at(other), user("somebody else"))
	e.delete(o.Key())
	if d := diff(e.live(r.Key()), r); d != "" {
		e.Fatalf("a record changed with one of the same ref in another namespace: %s", d)
	}
}

func createInvalid(e *env) {
	cases := map[string]struct {
		mod  func(op *state.CreateOp)
		want error
	}{
		"ZeroRef":            {func(op *state.CreateOp) { op.Record.Ref = state.Ref{} }, state.ErrInvalid},
		"NoNamespace":        {func(op *state.CreateOp) { op.Record.Namespace = "" }, state.ErrInvalid},
		"BadNamespace":       {func(op *state.CreateOp) { op.Record.Namespace = "a b" }, state.ErrInvalid},
		"NoKind":             {func(op *state.CreateOp) { op.Record.Kind = "" }, state.ErrInvalid},
		"BadKind":            {func(op *state.CreateOp) { op.Record.Kind = "Sess*" }, state.ErrInvalid},
		"NoIdle":             {func(op *state.CreateOp) { op.Idle = 0 }, state.ErrInvalid},
		"NegativeIdle":       {func(op *state.CreateOp) { op.Idle = -time.Hour }, state.ErrInvalid},
		"NoLifetime":         {func(op *state.CreateOp) { op.Lifetime = 0 }, state.ErrInvalid},
		"EndlessLifetime":    {func(op *state.CreateOp) { op.Lifetime = 1<<63 - 1 }, state.ErrInvalid},
		"NegativeLimit":      {func(op *state.CreateOp) { op.Limit.PerUser = -1 }, state.ErrInvalid},
		"NegativeTotal":      {func(op *state.CreateOp) { op.Limit.Total = -1 }, state.ErrInvalid},
		"LongBy":             {func(op *state.CreateOp) { op.By = longText(state.MaxOwnerBytes + 1) }, state.ErrTooLarge},
		"LongUser":           {func(op *state.CreateOp) { op.Record.User = longText(state.MaxUserBytes + 1) }, state.ErrTooLarge},
		"LongAgent":          {func(op *state.CreateOp) { op.Record.Meta.UserAgent = longText(state.MaxAgentBytes + 1) }, state.ErrTooLarge},
		"NotJSON":            {func(op *state.CreateOp) { op.Record.Data = data("k", `{"a":`) }, state.ErrInvalid},
		"NilValue":           {func(op *state.CreateOp) { op.Record.Data = map[string]json.RawMessage{"k": nil} }, state.ErrInvalid},
		"EmptyKey":           {func(op *state.CreateOp) { op.Record.Data = data("", `1`) }, state.ErrInvalid},
		"CapabilitiesNoJSON": {func(op *state.CreateOp) { op.Record.Meta.Capabilities = json.RawMessage(`no`) }, state.ErrInvalid},
	}
	for name, c := range cases {
		e.sub(name, func(e *env) {
			op := e.createOp(c.mod)
			r := e.apply(op)
			wantError(e, "Create", r.Err, c.want)
			if len(r.Ended) != 0 {
				e.Fatalf("refused Create: ended %d records", len(r.Ended))
			}
			if n := len(e.list(state.Query{Namespace: e.ns})); n != 0 {
				e.Fatalf("refused Create: left %d records", n)
			}
		})
	}
}

func longText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

// sub runs part of a check on a namespace of its own, as a sub-test where the
// check runs as a test.
func (e *env) sub(name string, run func(e *env)) {
	e.Helper()
	within := func(tb testing.TB) {
		s := e.on(e.store)
		s.TB, s.ns = tb, newNamespace()
		run(s)
	}
	if t, ok := e.TB.(*testing.T); ok {
		t.Run(name, func(t *testing.T) { within(t) })
		return
	}
	within(e.TB)
}
