package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func cart(t *testing.T, s state.Store, user, text string) state.Ref {
	t.Helper()
	op := creation(t, user)
	op.Record.Data = map[string]json.RawMessage{"cart": json.RawMessage(text)}
	do(t, s, op)
	return op.Record.Ref
}

func TestFindReachesIntoData(t *testing.T) {
	s := fresh(t, postgres.Options{})
	cheap := cart(t, s, "ann", `{"total": 9, "items": [{"sku": "hat", "price": 9}]}`)
	dear := cart(t, s, "bob", `{"total": 120, "items": [{"sku": "coat", "price": 111}, {"sku": "hat", "price": 9}]}`)
	odd := cart(t, s, "cat", `{"items": []}`)
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `CREATE TABLE accounts (login text, plan text); INSERT INTO accounts VALUES ('ann', 'gold'), ('cat', 'gold'), ('bob', 'tin')`,
			pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := state.Query{Namespace: space}
	total := []postgres.Order{{Path: "$.cart.total", Desc: true}}
	ann := "ann"
	for name, c := range map[string]struct {
		where postgres.Where
		want  []state.Ref
	}{
		"Path": {postgres.Where{Query: all, Match: []postgres.Match{{Path: `$.cart.items[*] ? (@.price > $min)`, Vars: map[string]any{"min": 100}}}},
			[]state.Ref{dear}},
		"Order":  {postgres.Where{Query: all, OrderBy: total}, []state.Ref{dear, cheap, odd}},
		"Offset": {postgres.Where{Query: all, OrderBy: total, Offset: 1}, []state.Ref{cheap, odd}},
		"Join": {postgres.Where{Query: all, Join: "JOIN accounts a ON a.login = t.user_id", Cond: "a.plan = $1 -- the plan", Args: []any{"gold"},
			OrderBy: []postgres.Order{{SQL: "a.login", Desc: true}}}, []state.Ref{odd, cheap}},
		"Query":   {postgres.Where{Query: state.Query{Namespace: space, User: &ann}}, []state.Ref{cheap}},
		"Max":     {postgres.Where{Query: state.Query{Namespace: space, Max: 1}, OrderBy: total}, []state.Ref{dear}},
		"Hostile": {postgres.Where{Query: all, Match: []postgres.Match{{Path: `$.cart ? (@ == $x)`, Vars: map[string]any{"x": `'); DROP TABLE sessions; --`}}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := s.Find(t.Context(), c.where)
			if err != nil {
				t.Fatal(err)
			}
			var got []state.Ref
			for _, r := range found {
				got = append(got, r.Ref)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	for name, w := range map[string]postgres.Where{
		"path":      {Query: all, Match: []postgres.Match{{Path: `$[`}}},
		"condition": {Query: all, Cond: "nothing = 1"},
		"namespace": {},
		"variables": {Query: all, Match: []postgres.Match{{Path: "$", Vars: map[string]any{"f": func() {}}}}},
	} {
		if _, err := s.Find(t.Context(), w); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("a %s that cannot be understood: got %v", name, err)
		}
	}
}

// TestFindAgreesWithGet checks that a found record is the record.
func TestFindAgreesWithGet(t *testing.T) {
	s := fresh(t, postgres.Options{})
	key := create(t, s, "ann\x00")
	found, err := s.Find(t.Context(), postgres.Where{Query: state.Query{Namespace: space}})
	if err != nil || len(found) != 1 {
		t.Fatal(len(found), err)
	}
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	found[0].Remaining = r.Remaining
	got, want := found[0], r
	if got.Stamp != want.Stamp || got.User != want.User || string(got.Data["basket"]) != string(want.Data["basket"]) {
		t.Errorf("Find: %+v, Get: %+v", got, want)
	}
}
