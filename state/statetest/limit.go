package statetest

import (
	"errors"
	"slices"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func limitChecks() []check {
	return []check{
		{"EvictsTheOldest", limitOldest, 0},
		{"EvictsByCreatedThenRef", limitOrder, 0},
		{"EvictsByCreatedNotByAccess", limitNotByAccess, manualClock},
		{"EvictsSeveral", limitSeveral, 0},
		{"EndsWhatItEvicts", limitEnds, 0},
		{"Refuses", limitRefuses, 0},
		{"SingleSession", limitSingle, 0},
		{"BoundsTheTotal", limitTotal, 0},
		{"BoundsTheTotalAfterEvicting", limitTotalAfterEvicting, 0},
		{"FailedCreateEvictsNothing", limitFailed, 0},
		{"ExpiredDoNotCount", limitExpired, 0},
		{"EndedDoNotCount", limitDeleted, 0},
		{"DoesNotApplyWithoutAUser", limitAnonymous, 0},
		{"SeparatesUsers", limitUsers, 0},
		{"SeparatesKinds", limitKinds, 0},
		{"SeparatesNamespaces", limitNamespaces, 0},
	}
}

// liveOf counts the user's live records.
func (e *env) liveOf(name string) int {
	e.Helper()
	n := 0
	for _, r := range e.list(state.Query{Namespace: e.ns}) {
		if r.User == name {
			n++
		}
	}
	return n
}

func endRefs(ends []state.End) []state.Ref {
	refs := make([]state.Ref, len(ends))
	for i := range ends {
		refs[i] = ends[i].Key.Ref
	}
	return refs
}

// oldestFirst sorts as eviction does.
func oldestFirst(rs []state.Record) {
	slices.SortFunc(rs, func(a, b state.Record) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return a.Ref.Compare(b.Ref)
	})
}

func limitOldest(e *env) {
	var rs []state.Record
	l := state.Limit{PerUser: 3}
	for i := range 7 {
		op := e.createOp(user("u"), limit(l))
		ended := endRefs(e.must(op).Ended)
		if i < 3 && len(ended) != 0 {
			e.Fatalf("Create of record %d with a limit of 3: evicted %d", i+1, len(ended))
		}
		if i >= 3 {
			oldestFirst(rs)
			if want := refsOf(rs[:1]); !slices.Equal(ended, want) {
				e.Fatalf("Create over a limit of 3: evicted %v, want the oldest, %v", ended, want)
			}
			rs = rs[1:]
		}
		rs = append(rs, e.live(op.Target()))
		e.tick()
	}
	if n := e.liveOf("u"); n != 3 {
		e.Fatalf("after evictions: %d records are live, want 3", n)
	}
}

// limitOrder uses imports, since those may have any Created.
func limitOrder(e *env) {
	base := e.storeNow().Add(-time.Hour)
	var rs []state.Record
	for _, age := range []time.Duration{0, 0, 0, -time.Second, time.Second, -time.Millisecond, 0} {
		r := e.exported(user("u"))
		r.Created = base.Add(age)
		e.must(state.ImportOp{Record: r})
		rs = append(rs, r)
	}
	oldestFirst(rs)
	for i := range rs {
		ended := e.must(e.createOp(user("u"), limit(state.Limit{PerUser: len(rs)}))).Ended
		if len(ended) != 1 || ended[0].Key != rs[i].Key() {
			e.Fatalf("eviction %d: got %v, want %v: the oldest by Created, then by Ref", i+1, endRefs(ended), rs[i].Ref)
		}
	}
}

func limitNotByAccess(e *env) {
	first := e.create(user("u"))
	e.tick()
	e.create(user("u"))
	e.tick()
	e.must(state.TouchOp{Key: first.Key(), Idle: longLife})
	e.update(e.live(first.Key()), `1`)
	ended := e.must(e.createOp(user("u"), limit(state.Limit{PerUser: 2}))).Ended
	if len(ended) != 1 || ended[0].Key != first.Key() {
		e.Fatal("eviction went by last access or update; the oldest is the one that was created first")
	}
}

func limitSeveral(e *env) {
	var rs []state.Record
	for range 5 {
		rs = append(rs, e.create(user("u")))
		e.tick()
	}
	oldestFirst(rs)
	ended := e.must(e.createOp(user("u"), limit(state.Limit{PerUser: 2}))).Ended
	if got, want := endRefs(ended), refsOf(rs[:4]); !slices.Equal(got, want) {
		e.Fatalf("Create with a limit of 2 beside five records: evicted %v, want %v, oldest first", got, want)
	}
	e.live(rs[4].Key())
}

func limitEnds(e *env) {
	r := e.create(user("u"))
	e.update(r, `1`)
	r = e.live(r.Key())
	e.tick()
	op := e.createOp(user("u"), limit(state.Limit{PerUser: 1}), func(op *state.CreateOp) { op.By = "new session" })
	res := e.must(op)
	if len(res.Ended) != 1 {
		e.Fatalf("Create over the limit: evicted %d, want 1", len(res.Ended))
	}
	want := endOf(r, res.Ended[0].At, state.ReasonEvicted, "new session", op.ID)
	if d := diffEnd(res.Ended[0], want); d != "" {
		e.Fatalf("End of an evicted record: %s", d)
	}
	if e.clock != nil && !want.At.Equal(e.now()) {
		e.Fatalf("End.At of an evicted record: got %v, want %v", want.At, e.now())
	}
	if d := diffEnd(e.ended(r.Key()), want); d != "" {
		e.Fatalf("the End that Get remembers is not the one that Create returned: %s", d)
	}
	e.fails(e.createOp(at(r.Key())), state.ErrExists)
}

func limitRefuses(e *env) {
	l := state.Limit{PerUser: 2, Refuse: true}
	first := e.create(user("u"), limit(l))
	e.create(user("u"), limit(l))
	op := e.createOp(user("u"), limit(l))
	e.limited(e.fails(op, state.ErrLimit), "user", 2)
	e.gone(op.Target())
	e.delete(first.Key())
	e.must(op) // a refused ref is not taken
}

// limited checks what a caller is told who is over a limit.
func (e *env) limited(err error, scope string, n int) {
	e.Helper()
	var l *state.LimitError
	if !errors.As(err, &l) || l.Scope != scope || l.Limit != n {
		e.Fatalf("got %v (%T), want a *LimitError with scope %q and limit %d", err, err, scope, n)
	}
}

func limitSingle(e *env) {
	last := e.create(user("u"))
	for range 4 {
		e.tick()
		op := e.createOp(user("u"), limit(state.Limit{PerUser: 1}))
		ended := e.must(op).Ended
		if len(ended) != 1 || ended[0].Key != last.Key() {
			e.Fatalf("Create with a limit of 1: evicted %d, want the one before", len(ended))
		}
		last = e.live(op.Target())
	}
}

func limitTotal(e *env) {
	l := state.Limit{Total: 3}
	first := e.create(limit(l))
	e.create(limit(l))
	e.create(user(""), limit(l)) // those without a user count too
	op := e.createOp(limit(l))
	e.limited(e.fails(op, state.ErrLimit), "total", 3)
	e.delete(first.Key())
	e.must(op)
	e.create(limit(state.Limit{Total: 4}))
	e.create()
}

func limitTotalAfterEvicting(e *env) {
	l := state.Limit{PerUser: 1, Total: 2}
	e.create(user("a"), limit(l))
	e.create(user("b"), limit(l))
	if n := len(e.must(e.createOp(user("a"), limit(l))).Ended); n != 1 {
		e.Fatalf("Create at both limits: evicted %d, want 1, which makes room in the total too", n)
	}
	e.limited(e.fails(e.createOp(user("c"), limit(l)), state.ErrLimit), "total", 2)
}

// limitFailed checks that nobody is evicted for an insert that fails.
func limitFailed(e *env) {
	mine := e.create(user("u"))
	taken := e.create(user("v"))
	deleted := e.create(user("v"))
	e.delete(deleted.Key())
	one := limit(state.Limit{PerUser: 1})
	e.fails(e.createOp(user("u"), one, at(taken.Key())), state.ErrExists)
	e.fails(e.createOp(user("u"), one, at(mine.Key())), state.ErrExists)
	e.fails(e.createOp(user("u"), one, at(deleted.Key())), state.ErrExists)
	e.create(user("w"))
	e.create(user("w"))
	e.limited(e.fails(e.createOp(user("u"), limit(state.Limit{PerUser: 1, Total: 3})), state.ErrLimit), "total", 3)
	e.fails(e.createOp(user("u"), one, func(op *state.CreateOp) { op.Record.Data = data("k", `no`) }), state.ErrInvalid)
	e.live(mine.Key())
	e.live(taken.Key())
}

func limitExpired(e *env) {
	expired := e.createEnded(user("u"), e.brief)
	if n := len(e.must(e.createOp(user("u"), limit(state.Limit{PerUser: 1}))).Ended); n != 0 {
		e.Fatalf("Create beside an expired record: evicted %d, want none", n)
	}
	r := e.apply(e.createOp(user("u"), limit(state.Limit{PerUser: 2, Refuse: true, Total: 2})))
	if r.Err != nil {
		e.Fatalf("Create beside an expired record: got error %v; expired records count towards no limit", r.Err)
	}
	u := "u"
	if got := refsOf(e.list(state.Query{Namespace: e.ns, User: &u, Expired: true})); !slices.Equal(got, []state.Ref{expired.Target().Ref}) {
		e.Fatalf("List by user, expired, after a Create counted what the user has: got %d, want the expired record", len(got))
	}
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != 1 || ends[0].Key != expired.Target() {
		e.Fatalf("Sweep: got %d ends, want that of the expired record", len(ends))
	}
}

func limitDeleted(e *env) {
	for range 3 {
		r := e.create(user("u"))
		e.delete(r.Key())
	}
	r := e.must(e.createOp(user("u"), limit(state.Limit{PerUser: 1, Refuse: true, Total: 1})))
	if len(r.Ended) != 0 {
		e.Fatalf("Create beside deleted records: evicted %d, want none", len(r.Ended))
	}
}

func limitAnonymous(e *env) {
	for range 4 {
		r := e.must(e.createOp(user(""), limit(state.Limit{PerUser: 1})))
		if len(r.Ended) != 0 {
			e.Fatal("Create without a user: evicted another record without a user")
		}
		e.must(e.createOp(user(""), limit(state.Limit{PerUser: 1, Refuse: true})))
	}
	if n := e.liveOf(""); n != 8 {
		e.Fatalf("records without a user: %d are live, want 8", n)
	}
}

func limitUsers(e *env) {
	names := []string{"a", "A", "a ", "a\x00", "a\x00b", "aa", "ä", "a\u0308", "\xff", "\xfe", "a%", "a_"}
	one := limit(state.Limit{PerUser: 1})
	for _, name := range names {
		if n := len(e.must(e.createOp(user(name), one)).Ended); n != 0 {
			e.Fatalf("Create for user %q evicted the record of another user", name)
		}
	}
	for _, name := range names {
		if n := len(e.must(e.createOp(user(name), one)).Ended); n != 1 {
			e.Fatalf("second Create for user %q: evicted %d, want 1", name, n)
		}
	}
}

func limitKinds(e *env) {
	l := state.Limit{PerUser: 1, Total: 1}
	for _, k := range []string{"session", "basket", "_node", "sess.ion", "session-2"} {
		if n := len(e.must(e.createOp(user("u"), ofKind(k), limit(l))).Ended); n != 0 {
			e.Fatalf("Create of kind %q evicted a record of another kind", k)
		}
	}
}

func limitNamespaces(e *env) {
	l := state.Limit{PerUser: 1, Total: 1}
	mine := e.create(user("u"), limit(l))
	other := e.key()
	other.Namespace = newNamespace()
	if n := len(e.must(e.createOp(user("u"), at(other), limit(l))).Ended); n != 0 {
		e.Fatal("Create in another namespace evicted")
	}
	e.live(mine.Key())
}
