package session_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func refs(t *testing.T, m *session.Manager, q session.Query) []state.Ref {
	t.Helper()
	var found []state.Ref
	for s, err := range m.List(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if !s.ID.IsZero() {
			t.Error("a listed session has an id")
		}
		found = append(found, s.Ref)
	}
	return found
}

func TestListFilters(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: -1})
	ctx := t.Context()
	start := b.clock.Now()
	created := b.create("ann")
	idle, active := b.create("ann"), b.create("bob")
	b.clock.Advance(time.Minute)
	b.access(idle.ID, "ann")
	b.clock.Advance(time.Hour)
	b.access(active.ID, "bob")
	late, err := b.Create(ctx, session.CreateRequest{Metadata: state.Metadata{Address: netip.MustParseAddr("192.0.2.9")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Do(ctx, b.store, state.SetOwnerOp{Key: state.Key{Namespace: "default", Ref: late.Ref}, Owner: "node"}); err != nil {
		t.Fatal(err)
	}
	other, err := session.NewManager(b.store, session.Options{Kind: "basket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Create(ctx, session.CreateRequest{User: "ann"}); err != nil {
		t.Fatal(err)
	}

	of := func(sessions ...*session.Session) []state.Ref {
		var want []state.Ref
		for _, s := range sessions {
			want = append(want, s.Ref)
		}
		slices.SortFunc(want, state.Ref.Compare)
		return want
	}
	all := of(created, idle, active, late)
	in := func(s session.State) session.Query { return session.Query{State: &s} }
	user := func(u string) session.Query { return session.Query{User: &u} }
	for name, c := range map[string]struct {
		query session.Query
		want  []state.Ref
	}{
		"all":       {session.Query{}, all},
		"user":      {user("ann"), of(created, idle)},
		"anonymous": {user(""), of(late)},
		"created":   {in(session.Created), of(created, late)},
		"active":    {in(session.Active), of(active)},
		"idle":      {in(session.Idle), of(idle)},
		"expired":   {in(session.Expired), nil},
		"owner":     {session.Query{Owner: "node"}, of(late)},
		"address":   {session.Query{Address: state.InPrefix(netip.MustParsePrefix("192.0.2.0/24"))}, of(late)},
		"from":      {session.Query{CreatedFrom: start.Add(time.Minute)}, of(late)},
		"before":    {session.Query{CreatedBefore: start.Add(time.Minute)}, of(created, idle, active)},
		"max":       {session.Query{Max: 3}, all[:3]},
		"after":     {session.Query{After: all[1]}, all[2:]},
		"page":      {session.Query{After: all[0], Max: 2}, all[1:3]},
	} {
		if got := refs(t, b.Manager, c.query); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if n, err := b.Count(ctx, c.query); n != len(c.want) || err != nil {
			t.Errorf("%s: counted %d, %v", name, n, err)
		}
	}
	// Max counts what matches, not what was looked at.
	for want, of := range map[session.State][]state.Ref{session.Idle: of(idle), session.Created: of(created, late)[:1]} {
		q := in(want)
		q.Max = 1
		if got := refs(t, b.Manager, q); !slices.Equal(got, of) {
			t.Errorf("one %v: %v", want, got)
		}
	}
	b.clock.Advance(2*time.Hour + time.Minute)
	if got := refs(t, b.Manager, session.Query{}); len(got) != 0 {
		t.Errorf("expired sessions are listed: %v", got)
	}
	if got := refs(t, b.Manager, in(session.Expired)); !slices.Equal(got, all) {
		t.Errorf("expired: %v", got)
	}
}

func TestListStopsWhenAsked(t *testing.T) {
	b := newBench(t, session.Policy{})
	for range 5 {
		b.create("")
	}
	n := 0
	for range b.List(t.Context(), session.Query{}) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d", n)
	}
}

// sealed is a store that cannot filter.
type sealed struct{ state.Store }

func (sealed) List(context.Context, state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		yield(state.Record{}, &state.UnsupportedError{Field: "address"})
	}
}

func TestListSaysWhatTheStoreCannotFilter(t *testing.T) {
	b := newBench(t, session.Policy{})
	m, err := session.NewManager(sealed{b.store}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range m.List(t.Context(), session.Query{}) {
		if s != nil || !errors.Is(err, session.ErrUnsupported) {
			t.Errorf("got %v, %v", s, err)
		}
	}
	if _, err := m.Count(t.Context(), session.Query{}); !errors.Is(err, session.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if _, err := m.RevokeAll(t.Context(), "root", time.Time{}); !errors.Is(err, session.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestParseState(t *testing.T) {
	for _, s := range []session.State{session.Created, session.Active, session.Idle, session.Expired} {
		if got, err := session.ParseState(s.String()); got != s || err != nil {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	if _, err := session.ParseState("unknown"); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if session.State(0).String() != "unknown" || fmt.Sprint(session.EventType(0)) != "unknown" {
		t.Error("the zero values have names")
	}
}
