package open_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// The level reaches PostgreSQL though its URL has several hosts, only one of
// which there is.
func TestLevelsReachPostgreSQL(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	url := fmt.Sprintf("postgres://%s@%s,127.0.0.1/postgres", postgresserver.User, server.Addr())
	s, err := open.Open(t.Context(), url, open.Options{Replication: state.ReplicateLeader})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Guarantees().Replication; got != state.ReplicateLeader {
		t.Errorf("in force is %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = open.Open(t.Context(), url, open.Options{Replication: state.ReplicateQuorum})
	if err == nil || !strings.Contains(err.Error(), "synchronous_standby_names") {
		t.Errorf("quorum without a standby: %v", err)
	}
}
