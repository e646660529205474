package embedded

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A node is lost with its folder. Another is stopped for the promotion, and all
// that the mirrors had is there again, for the node that was never stopped too.
func TestMirrorsOfALostNodeArePromoted(t *testing.T) {
	t.Parallel()
	all := trio(t)
	for i := range all {
		all[i].Level = state.ReplicateLeader
	}
	stores := openAll(t, all)
	var keys []state.Key
	for n := range 64 {
		record := recordOf(n*4, 0)
		create := state.CreateOp{Record: record, Idle: time.Hour, Lifetime: time.Hour}
		if err := stores[n%3].Apply(t.Context(), create)[0].Err; err != nil {
			t.Fatal(err)
		}
		keys = append(keys, record.Key())
	}
	lost := 0
	eventually(t, "the mirrors have all, on other nodes", func() bool {
		for n, key := range keys {
			set, err := stores[1].ReplicaSet(t.Context(), key)
			if err != nil || len(set) != 3 || set[1].Behind != 0 || set[2].Behind != 0 || set[1].Name == set[2].Name || set[0].Name == set[1].Name {
				return false
			}
			if n == 0 { // the one that leads the first
				lost = map[string]int{"a": 0, "b": 1, "c": 2}[set[0].Name]
			}
		}
		return true
	})
	stopped, left := (lost+1)%3, stores[(lost+2)%3]
	for _, i := range []int{lost, stopped} {
		if err := stores[i].Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(all[lost].Dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	promotions, err := Promote(ctx, all[stopped], false)
	if err != nil {
		t.Fatalf("promote: %v", err)
	}
	n := 0
	for _, p := range promotions {
		if p.Lost && p.Mirror != "" {
			n++
		}
	}
	if n == 0 {
		t.Errorf("nothing was promoted: %+v", promotions)
	}
	again := openAll(t, all[stopped:stopped+1])[0]
	for _, s := range []*Store{again, left} {
		for _, key := range keys {
			eventually(t, "read what was mirrored", func() bool {
				_, err := s.Get(t.Context(), key)
				if errors.Is(err, state.ErrNotFound) {
					t.Fatalf("lost: %v", err)
				}
				return err == nil
			})
		}
	}
	if g := again.Guarantees(); g.Replication != state.ReplicateLeader {
		t.Errorf("declares %+v", g)
	}
	touch := state.TouchOp{Key: keys[0], Idle: time.Hour}
	if err := left.Apply(t.Context(), touch)[0].Err; err != nil {
		t.Errorf("write: %v", err)
	}
	// With an empty folder it is a node like any other.
	back := openAll(t, all[lost:lost+1])[0]
	if _, err := back.Get(t.Context(), keys[0]); err != nil {
		t.Errorf("get at the node that came back: %v", err)
	}
}
