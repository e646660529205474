package postgres_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func TestReplicaSetNamesThePrimaryAndItsStandbys(t *testing.T) {
	p := newPair(t)
	s := open(t, p.url(""), postgres.Options{})
	key := newKey(t)
	set := func() []state.Node {
		t.Helper()
		set, err := state.ReplicaSet(t.Context(), s, key)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	want := []state.Node{{Name: p.primary.Addr(), Leader: true, Connected: true}, {Name: "two at 127.0.0.1", Connected: true}}
	poll(t, "the standby has all", func() bool { return slices.Equal(set(), want) })
	p.require(t, "") // else nobody writes while the standby is away
	p.standby.Kill(t)
	poll(t, "the standby is gone", func() bool { return slices.Equal(set(), want[:1]) })
	p.primary.Kill(t)
	if _, err := s.ReplicaSet(t.Context(), key); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("without a primary: %v", err)
	}
}

func TestReplicaSetWithoutTheRightToSeeStandbys(t *testing.T) {
	p := newPair(t)
	p.primary.Exec(t, p.database, "CREATE ROLE modest LOGIN; GRANT ALL ON SCHEMA public TO modest")
	s := open(t, "postgres://modest@"+p.primary.Addr()+"/"+p.database, postgres.Options{Replication: state.ReplicateLeader})
	set, err := s.ReplicaSet(context.Background(), newKey(t))
	if err != nil || len(set) != 2 || set[1].Behind != -1 {
		t.Errorf("%+v, %v", set, err)
	}
}
