package statetest

import (
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// listFilters lists by many combinations of filters and compares with
// [state.Query.Match], which is the definition.
func listFilters(e *env) {
	base := e.storeNow().Add(-24 * time.Hour)
	records := e.varied(base)
	// The seed is fixed: the same queries every time.
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	for _, q := range e.queries(base, rnd) {
		var want []state.Ref
		for i := range records {
			if q.Match(&records[i], e.matchTime()) {
				want = append(want, records[i].Ref)
			}
		}
		rs, err := e.listErr(q)
		if errors.Is(err, state.ErrUnsupported) {
			e.unsupported(rs, err)
			continue
		}
		if err != nil {
			e.Fatalf("List by %s: %v", describe(q), err)
		}
		if got := refsOf(rs); !slices.Equal(got, want) {
			e.Fatalf("List by %s: got %d records, Query.Match selects %d", describe(q), len(got), len(want))
		}
	}
}

// matchTime is a time at which all long-lived records are live.
func (e *env) matchTime() time.Time {
	if e.clock != nil {
		return e.clock.Now()
	}
	return time.Time{}
}

// unsupported checks how a store refuses a filter.
func (e *env) unsupported(rs []state.Record, err error) {
	e.Helper()
	var u *state.UnsupportedError
	if !errors.As(err, &u) || u.Field == "" {
		e.Fatalf("List by something the store cannot filter by: got %v (%T), want an *UnsupportedError with the field", err, err)
	}
	if len(rs) != 0 {
		e.Fatal("List by something the store cannot filter by: yielded records before the error")
	}
}

var (
	filterUsers     = []string{"", "ann", "bob", "ANN", "\x00\xff", "%", "a_n", "*"}
	filterKinds     = []string{"session", "basket", "_node"}
	filterOwners    = []string{"", "one", "two", "%"}
	filterAddresses = []string{"", "192.0.2.7", "192.0.3.7", "::ffff:192.0.2.9", "2001:db8::7", "10.255.255.255", "11.0.0.0"}
	filterPrefixes  = []string{
		"192.0.2.0/24", "192.0.2.7/32", "192.0.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::/32",
		"2001:db8::7/128", "::ffff:192.0.2.0/120", "10.0.0.0/8", "127.0.0.0/8", "192.0.2.0/31",
	}
)

// varied imports records that differ in all that can be filtered by.
func (e *env) varied(base time.Time) []state.Record {
	e.Helper()
	rnd := mathrand.New(mathrand.NewPCG(3, 4))
	var out []state.Record
	for i := range 90 {
		r := e.exported(user(filterUsers[i%len(filterUsers)]), ofKind(filterKinds[i%7%len(filterKinds)]))
		r.Created = base.Add(time.Duration(rnd.IntN(5)) * time.Millisecond)
		r.LastAccessed = base.Add(time.Hour + time.Duration(rnd.IntN(5))*time.Millisecond)
		r.Meta.Address = netip.Addr{}
		if a := filterAddresses[rnd.IntN(len(filterAddresses))]; a != "" {
			r.Meta.Address = netip.MustParseAddr(a)
		}
		e.must(state.ImportOp{Record: r})
		if owner := filterOwners[rnd.IntN(len(filterOwners))]; owner != "" {
			e.must(state.SetOwnerOp{Key: r.Key(), Owner: owner})
		}
		out = append(out, e.live(r.Key()))
	}
	slices.SortFunc(out, func(a, b state.Record) int { return a.Ref.Compare(b.Ref) })
	return out
}

// queries returns each filter alone and many random combinations.
func (e *env) queries(base time.Time, rnd *mathrand.Rand) []state.Query {
	var qs []state.Query
	add := func(mods ...func(*state.Query)) {
		q := state.Query{Namespace: e.ns}
		for _, mod := range mods {
			mod(&q)
		}
		qs = append(qs, q)
	}
	filters := singleFilters(base)
	for _, f := range filters {
		add(f)
	}
	for range 200 {
		mods := make([]func(*state.Query), 1+rnd.IntN(4))
		for i := range mods {
			mods[i] = filters[rnd.IntN(len(filters))]
		}
		add(mods...)
	}
	return qs
}

func singleFilters(base time.Time) []func(*state.Query) {
	var fs []func(*state.Query)
	for _, u := range append(filterUsers, "nobody", "an", "ann ") {
		fs = append(fs, func(q *state.Query) { q.User = &u })
	}
	for _, k := range append(filterKinds, "", "absent") {
		fs = append(fs, func(q *state.Query) { q.Kind = k })
	}
	for _, o := range append(filterOwners, "nobody", "on_") {
		fs = append(fs, func(q *state.Query) { q.Owner = o })
	}
	for _, p := range filterPrefixes {
		fs = append(fs, func(q *state.Query) { q.Address = state.InPrefix(netip.MustParsePrefix(p)) })
	}
	for ms := -1; ms < 6; ms++ {
		for _, fine := range []time.Duration{-1, 0, 1} { // nanoseconds
			created := base.Add(time.Duration(ms)*time.Millisecond + fine)
			accessed := created.Add(time.Hour)
			fs = append(fs,
				func(q *state.Query) { q.CreatedFrom = created },
				func(q *state.Query) { q.CreatedBefore = created },
				func(q *state.Query) { q.AccessedFrom = accessed },
				func(q *state.Query) { q.AccessedBefore = accessed },
			)
		}
	}
	return append(fs, func(q *state.Query) { q.Expired = true })
}

// describe says by what a query filters.
func describe(q state.Query) string {
	var by []string
	add := func(what, value string) { by = append(by, what+" "+value) }
	if q.Kind != "" {
		add("kind", q.Kind)
	}
	if q.User != nil {
		add("user", short(*q.User))
	}
	if q.Owner != "" {
		add("owner", q.Owner)
	}
	if p, ok := q.Address.Prefix(); ok {
		add("address", p.String())
	}
	times := []struct {
		what string
		t    time.Time
	}{
		{"created from", q.CreatedFrom}, {"created before", q.CreatedBefore},
		{"accessed from", q.AccessedFrom}, {"accessed before", q.AccessedBefore},
	}
	for _, c := range times {
		if !c.t.IsZero() {
			add(c.what, c.t.Format(time.RFC3339Nano))
		}
	}
	if q.Expired {
		by = append(by, "expired")
	}
	return strings.Join(by, ", ")
}
