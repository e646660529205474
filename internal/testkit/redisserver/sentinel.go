package redisserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// MasterSet is the name by which sentinels know the primary.
const MasterSet = "coatcheck"

// Sentinels are three sentinels that watch a primary.
type Sentinels struct {
	Primary   *Server
	Replicas  []*Server
	Sentinels []*Server
}

// StartSentinels starts a primary with replicas and three sentinels, and waits
// until these know of one another.
func StartSentinels(t testing.TB, replicas int, args ...string) *Sentinels {
	t.Helper()
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	set := &Sentinels{Primary: Start(t, args...)}
	for range replicas {
		set.Replicas = append(set.Replicas, set.Primary.Replica(args...))
	}
	for range 3 {
		set.Sentinels = append(set.Sentinels, startSentinel(t, set.Primary))
	}
	for _, s := range set.Sentinels {
		s.await("knows the others", func() bool {
			m, err := s.try("SENTINEL", "MASTER", MasterSet)
			return err == nil && field(m, "num-other-sentinels") == "2" &&
				field(m, "num-slaves") == fmt.Sprint(replicas) && field(m, "flags") == "master"
		})
	}
	return set
}

// field reads one of the name and value pairs of an answer.
func field(reply, name string) string {
	lines := strings.Split(reply, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if lines[i] == name {
			return lines[i+1]
		}
	}
	return ""
}

func startSentinel(t testing.TB, primary *Server) *Server {
	t.Helper()
	s := &Server{t: t, name: "redis-sentinel", dir: t.TempDir(), port: freePort(t)}
	conf := filepath.Join(s.dir, "sentinel.conf")
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
sentinel monitor %s 127.0.0.1 %s 2
sentinel down-after-milliseconds %s 1000
sentinel failover-timeout %s 5000
sentinel parallel-syncs %s 1
`, s.port, s.dir, MasterSet, primary.Port(), MasterSet, MasterSet, MasterSet)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process = testkit.NewProcess(t, s.dir, find(t, s.name), conf)
	s.Launch()
	return s
}

// Addrs are those of the sentinels.
func (set *Sentinels) Addrs() []string {
	var addrs []string
	for _, s := range set.Sentinels {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// AwaitSwitch waits until all sentinels name another primary than the given
// one, and that takes writes.
func (set *Sentinels) AwaitSwitch(from *Server) *Server {
	from.t.Helper()
	var now *Server
	for _, s := range set.Sentinels {
		s.await("names another primary", func() bool {
			addr, err := s.try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterSet)
			if err != nil || strings.HasSuffix(addr, "\n"+from.Port()) {
				return false
			}
			for _, r := range append([]*Server{set.Primary}, set.Replicas...) {
				if strings.HasSuffix(addr, "\n"+r.Port()) {
					now = r
				}
			}
			return now != nil
		})
	}
	now.await("takes writes", func() bool { return now.Info("role") == "master" })
	return now
}
