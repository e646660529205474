package gosdk

import (
	"net/http"
	"runtime"
	"sync"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// servers are those that getServer has returned and that are still in use. It
// keeps none of them alive, since there may be one for each request, but for
// those that come again: these have a beacon.
type servers struct {
	mu   sync.Mutex // guards all below
	seen map[weak.Pointer[mcp.Server]]*sighting
}

// A sighting is what is known of a server.
type sighting struct {
	again  bool
	beacon *mcp.ServerSession // nil if it has none (yet)
}

// serverFor returns the server for a request, or nil. In a cluster it sees to
// it that the clients of all replicas hear of its changes.
func (h *Handler) serverFor(r *http.Request) *mcp.Server {
	server := h.getServer(r)
	if server == nil || h.opts.Cluster == nil {
		return server
	}
	if h.servers.note(server, h.listeners.observe) {
		h.light(server)
	}
	return server
}

// note reports whether the server is seen for the second time. When it is seen
// for the first, it is observed before anything else sees it.
func (s *servers) note(server *mcp.Server, observe func(*mcp.Server)) (second bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := weak.Make(server)
	if got := s.seen[key]; got != nil {
		second = !got.again
		got.again = true
		return second
	}
	if s.seen == nil {
		s.seen = map[weak.Pointer[mcp.Server]]*sighting{}
	}
	s.seen[key] = &sighting{}
	runtime.AddCleanup(server, s.forget, key)
	observe(server)
	return false
}

func (s *servers) forget(key weak.Pointer[mcp.Server]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, key)
}

// all returns the servers that are in use.
func (s *servers) all() []*mcp.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*mcp.Server
	for key := range s.seen {
		if server := key.Value(); server != nil {
			out = append(out, server)
		}
	}
	return out
}

// keep notes the beacon of a server.
func (s *servers) keep(server *mcp.Server, beacon *mcp.ServerSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[weak.Make(server)].beacon = beacon
}

// close puts the beacons out.
func (s *servers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, got := range s.seen {
		if got.beacon != nil {
			_ = got.beacon.Close() // it has no connection that could fail
			got.beacon = nil
		}
	}
}
