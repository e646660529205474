package natsserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// A Mesh is a cluster whose servers reach one another through proxies alone, so
// that some can be cut off from others while clients reach all of them.
type Mesh struct {
	Servers  []*Server
	monitors []string                  // where each tells how it is
	proxies  map[[2]int]*testkit.Proxy // by link
}

// StartMesh starts n servers that know one another.
func StartMesh(t testing.TB, n int, args ...string) *Mesh {
	t.Helper()
	bin := build(t)
	m := &Mesh{proxies: map[[2]int]*testkit.Proxy{}}
	ports := make([]int, n)
	for i := range ports {
		ports[i] = testkit.Port(t)
	}
	for i := range n {
		var routes []string
		for j := range n {
			if i != j {
				p := testkit.NewProxy(t, "127.0.0.1:"+strconv.Itoa(ports[j]))
				m.proxies[[2]int{i, j}] = p
				routes = append(routes, "nats://"+p.Addr())
			}
		}
		monitor := testkit.Port(t)
		m.monitors = append(m.monitors, fmt.Sprintf("http://127.0.0.1:%d", monitor))
		s := prepare(t, bin, "n"+strconv.Itoa(i), testkit.Port(t), append([]string{
			"-cluster", strconv.Itoa(ports[i]), "-routes", strings.Join(routes, ","), "-monitor", strconv.Itoa(monitor),
			// Servers tell one another of further ones. Nobody answers there.
			"-advertise", "127.0.0.1:1",
		}, args...)...)
		m.Servers = append(m.Servers, s)
		s.Launch()
	}
	return m
}

// Isolate cuts a server off from all others, until Mend.
func (m *Mesh) Isolate(s *Server) {
	for link, p := range m.proxies {
		if m.Servers[link[0]] == s || m.Servers[link[1]] == s {
			p.Cut()
		}
	}
}

// Mend lets all servers reach one another.
func (m *Mesh) Mend() {
	for _, p := range m.proxies {
		p.Calm()
	}
}

// MetaLeader returns the server that leads the whole cluster: once it is cut
// off it goes on the longest.
func (m *Mesh) MetaLeader(t testing.TB) *Server {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(10 * time.Millisecond) {
		for _, addr := range m.monitors {
			name := metaLeader(addr)
			for _, s := range m.Servers {
				if s.name == name {
					return s
				}
			}
		}
	}
	t.Fatalf("no leader of the cluster after %v", patience)
	return nil
}

// metaLeader asks a server who leads the cluster. It is empty if nobody does.
func metaLeader(addr string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(addr + "/jsz")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var told struct {
		Meta struct {
			Leader string `json:"leader"`
		} `json:"meta_cluster"`
	}
	if json.NewDecoder(resp.Body).Decode(&told) != nil {
		return ""
	}
	return told.Meta.Leader
}
