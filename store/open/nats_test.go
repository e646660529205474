package open_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// The level reaches NATS though its URL has several hosts, only one of which
// there is.
func TestLevelsReachNATS(t *testing.T) {
	server := natsserver.Start(t)
	url := server.URL() + ",127.0.0.1:1?streams=1"
	s, err := open.Open(t.Context(), url, open.Options{Replication: state.ReplicateNone, Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Guarantees().Replication; got != state.ReplicateNone {
		t.Errorf("in force is %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, level := range []state.Replication{state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
		if _, err := open.Open(t.Context(), url, open.Options{Replication: level}); !errors.Is(err, state.ErrInvalid) || !strings.Contains(err.Error(), string(level)) {
			t.Errorf("%s with one server: %v", level, err)
		}
	}
}
