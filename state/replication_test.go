package state_test

import (
	"errors"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestParseReplication(t *testing.T) {
	for _, text := range []string{"none", "leader", "quorum", "all"} {
		if r, err := state.ParseReplication(text); err != nil || string(r) != text {
			t.Errorf("%q is %q, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "Quorum", "majority"} {
		if _, err := state.ParseReplication(text); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// A quorum of followers and the leader are more than half of all nodes, and
// not one more than needed.
func TestFollowersOfALevel(t *testing.T) {
	for n := range 8 {
		if got := state.ReplicateQuorum.Followers(n) + 1; 2*got <= n+1 || 2*(got-1) > n+1 {
			t.Errorf("%d of %d nodes are taken for a majority", got, n+1)
		}
		if got := state.ReplicateAll.Followers(n); got != n {
			t.Errorf("all of %d are %d", n, got)
		}
		for _, r := range []state.Replication{"", state.ReplicateNone, state.ReplicateLeader} {
			if got := r.Followers(n); got != 0 {
				t.Errorf("%q waits for %d", r, got)
			}
		}
	}
}

func TestBelowLevelIsAnUnknownOutcome(t *testing.T) {
	var err error = &state.BelowLevelError{Level: state.ReplicateQuorum, Have: 1, Need: 2}
	if !errors.Is(err, state.ErrBelowLevel) || !errors.Is(err, state.ErrUnknownOutcome) || errors.Is(err, state.ErrUnavailable) {
		t.Errorf("%v is not what callers test for", err)
	}
	if !errors.Is(state.ErrBelowLevel, state.ErrUnknownOutcome) {
		t.Error("who knows only unknown outcomes does not recognize it")
	}
}
