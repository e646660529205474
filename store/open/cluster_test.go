package open_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func TestOneNodeKeepsNoLevelThatTakesSeveral(t *testing.T) {
	const url = "cluster:?name=a&listen=127.0.0.1:7001&dir=does-not-matter"
	for _, level := range []state.Replication{state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
		s, err := open.Open(t.Context(), url, open.Options{Replication: level})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), string(level)+" takes three nodes") {
			t.Errorf("%s of one: %v", level, err)
		}
	}
}

func TestANodeIsStartedByItsURL(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	url := "cluster:?name=a&listen=127.0.0.1:" + redisserver.FreePort(t) + "&dir=" + dir
	if s, err := open.Open(t.Context(), url, open.Options{MustExist: true}); err == nil {
		s.Close()
		t.Error("a node that is not there was opened")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
	var node *embedded.Server
	s := mustOpen(t, url, open.Options{OnNode: func(n *embedded.Server) { node = n }})
	key := leave(t, s, "ann")
	if r, err := s.Get(t.Context(), key); err != nil || r.User != "ann" {
		t.Errorf("%+v, %v", r, err)
	}
	if node == nil || node.Name() != "a" {
		t.Errorf("heard of node %v", node)
	}
	other, err := open.Open(t.Context(), url, open.Options{})
	if err == nil {
		other.Close()
	}
	if !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), "write --admin URL") {
		t.Errorf("a second time: %v", err)
	}
}
