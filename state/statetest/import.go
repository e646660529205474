package statetest

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func importChecks() []check {
	return []check{
		{"KeepsWhatItIsGiven", importKeeps, 0},
		{"StartsOwnershipAnew", importAnew, 0},
		{"CutsTimes", importCuts, 0},
		{"RefusesTakenRef", importRefusesTaken, 0},
		{"RefusesDeletedRef", importRefusesDeleted, 0},
		{"RefusesSweptRef", importRefusesSwept, 0},
		{"OfExpiredIsNotFound", importExpired, 0},
		{"KnowsNoLimit", importUnlimited, 0},
		{"GoesOnWithItsVersion", importGoesOn, 0},
		{"OmitsPreviousSecretAfterItsTime", importPrevious, 0},
		{"ExpiresAtItsDeadline", importExpires, 0},
		{"RefusesInvalid", importInvalid, 0},
	}
}

// storeNow is a recent time by the store's clock.
func (e *env) storeNow() time.Time {
	e.Helper()
	if e.clock != nil {
		return e.now()
	}
	probe := e.createOp()
	probe.Record.Namespace += "-probe"
	return e.must(probe).Stamp.Created
}

// exported is a record as an export would have it.
func (e *env) exported(mods ...func(*state.CreateOp)) state.Record {
	e.Helper()
	now := e.storeNow()
	r := e.createOp(mods...).Record
	r.Secret.Previous = newHash()
	r.Secret.PreviousUntil = now.Add(longLife)
	r.LastOp = newOpID()
	r.Stamp = state.Stamp{
		Version: 41, Revision: 99, Epoch: 6,
		Created:          now.Add(-48 * time.Hour),
		LastAccessed:     now.Add(-time.Hour),
		IdleDeadline:     now.Add(longLife),
		AbsoluteDeadline: now.Add(2 * longLife),
	}
	r.Owner = "old-replica"
	return r
}

func importKeeps(e *env) {
	want := e.exported()
	s := e.must(state.ImportOp{Record: want}).Stamp
	want.Revision, want.Epoch, want.Owner = s.Revision, 0, ""
	if d := diffStamp(s, want.Stamp); d != "" {
		e.Fatalf("stamp of Import: %s", d)
	}
	if d := diff(e.live(want.Key()), want); d != "" {
		e.Fatalf("Get after Import: %s", d)
	}
}

func importAnew(e *env) {
	r := e.exported()
	e.must(state.ImportOp{Record: r})
	got := e.live(r.Key())
	if got.Owner != "" || got.Epoch != 0 {
		e.Fatalf("Import of an owned record: got owner %q and epoch %d, want none", got.Owner, got.Epoch)
	}
	e.must(state.SetOwnerOp{Key: r.Key(), Epoch: 0, Owner: "new-replica"})
}

func importCuts(e *env) {
	r := e.exported()
	want := r
	fine := 123456 * time.Nanosecond
	r.Created, r.LastAccessed = r.Created.Add(fine), r.LastAccessed.Add(fine)
	r.IdleDeadline, r.AbsoluteDeadline = r.IdleDeadline.Add(fine), r.AbsoluteDeadline.Add(fine)
	r.Secret.PreviousUntil = r.Secret.PreviousUntil.Add(fine)
	zone := time.FixedZone("elsewhere", -3*60*60)
	r.Created = r.Created.In(zone)
	want.Stamp.Revision = e.must(state.ImportOp{Record: r}).Stamp.Revision
	want.Epoch, want.Owner = 0, ""
	if d := diff(e.live(r.Key()), want); d != "" {
		e.Fatalf("Get after Import of times finer than %v: %s", state.Precision, d)
	}
}

func importRefusesTaken(e *env) {
	r := e.create()
	imp := e.exported()
	imp.Ref = r.Ref
	e.fails(state.ImportOp{Record: imp}, state.ErrExists)
	expired := e.createEnded(e.brief)
	imp.Ref = expired.Record.Ref
	e.fails(state.ImportOp{Record: imp}, state.ErrExists)
	e.gone(imp.Key())
}

func importRefusesDeleted(e *env) {
	r := e.create()
	e.delete(r.Key())
	r.Stamp = e.exported().Stamp
	e.fails(state.ImportOp{Record: r}, state.ErrExists)
	e.gone(r.Key())
}

func importRefusesSwept(e *env) {
	op := e.createEnded(e.brief)
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	r := e.exported()
	r.Ref = op.Record.Ref
	e.fails(state.ImportOp{Record: r}, state.ErrExists)
	e.gone(r.Key())
}

func importExpired(e *env) {
	for _, expire := range []func(*state.Record){
		func(r *state.Record) { r.IdleDeadline = r.LastAccessed },
		func(r *state.Record) { r.AbsoluteDeadline = r.LastAccessed },
	} {
		r := e.exported()
		expire(&r)
		e.fails(state.ImportOp{Record: r}, state.ErrNotFound)
		taken := e.create()
		r.Ref = taken.Ref
		e.fails(state.ImportOp{Record: r}, state.ErrNotFound) // whatever is there
		if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 0 {
			e.Fatalf("Import of an expired record: left something that Sweep ended")
		}
	}
}

func importUnlimited(e *env) {
	const who = "traveller"
	for range 3 {
		e.must(state.ImportOp{Record: e.exported(user(who))})
	}
	if n := e.liveOf(who); n != 3 {
		e.Fatalf("after three Imports for one user: got %d records, want 3", n)
	}
	r := e.must(e.createOp(user(who), limit(state.Limit{PerUser: 2})))
	if len(r.Ended) != 2 {
		e.Fatalf("Create with a limit of 2 beside three imported records: evicted %d, want 2", len(r.Ended))
	}
}

func importGoesOn(e *env) {
	r := e.exported()
	e.must(state.ImportOp{Record: r})
	e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", `1`)}, state.ErrConflict)
	s := e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", `1`)}).Stamp
	if s.Version != r.Version+1 {
		e.Fatalf("Update of an imported record of version %d: got version %d, want %d", r.Version, s.Version, r.Version+1)
	}
}

func importPrevious(e *env) {
	r := e.exported()
	r.Secret.PreviousUntil = r.LastAccessed
	e.must(state.ImportOp{Record: r})
	if got := e.live(r.Key()).Secret; got != (state.Secret{Hash: r.Secret.Hash}) {
		e.Fatal("Get after Import of a record whose previous secret is over: returned the previous secret, want it zero")
	}
}

func importExpires(e *env) {
	r := e.exported()
	now := e.storeNow()
	r.IdleDeadline = now.Add(e.life())
	if res := e.apply(state.ImportOp{Record: r}); res.Err != nil && e.clock != nil {
		e.Fatal(res.Err)
	}
	e.expire(e.life())
	e.gone(r.Key())
}

func importInvalid(e *env) {
	cases := map[string]struct {
		mod  func(*state.Record)
		want error
	}{
		"NoVersion":   {func(r *state.Record) { r.Version = 0 }, state.ErrInvalid},
		"NoCreated":   {func(r *state.Record) { r.Created = time.Time{} }, state.ErrInvalid},
		"NoDeadline":  {func(r *state.Record) { r.AbsoluteDeadline = time.Time{} }, state.ErrInvalid},
		"FarDeadline": {func(r *state.Record) { r.AbsoluteDeadline = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) }, state.ErrInvalid},
		"BeforeTime":  {func(r *state.Record) { r.Created = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }, state.ErrInvalid},
		"NoKind":      {func(r *state.Record) { r.Kind = "" }, state.ErrInvalid},
		"LongUser":    {func(r *state.Record) { r.User = longText(state.MaxUserBytes + 1) }, state.ErrTooLarge},
	}
	for name, c := range cases {
		e.sub(name, func(e *env) {
			r := e.exported()
			c.mod(&r)
			wantError(e, "Import", e.apply(state.ImportOp{Record: r}).Err, c.want)
			if n := len(e.list(state.Query{Namespace: e.ns})); n != 0 {
				e.Fatalf("refused Import: left %d records", n)
			}
		})
	}
}
