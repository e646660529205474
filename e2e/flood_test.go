package e2e

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// memory returns what the process's heap has in use, once garbage is gone.
func (s *server) memory(t *testing.T) float64 {
	t.Helper()
	// The metric is as of the last collection; the least of several readings
	// is what stays.
	least := -1.0
	for range 8 {
		_, text := s.get("/metrics")
		for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
			if value, ok := strings.CutPrefix(lines.Text(), "go_memstats_heap_inuse_bytes "); ok {
				n, err := strconv.ParseFloat(value, 64)
				if err != nil {
					t.Fatal(err)
				}
				if least < 0 || n < least {
					least = n
				}
			}
		}
	}
	if least < 0 {
		t.Fatal("/metrics says nothing of memory")
	}
	return least
}

// Whatever strangers send, in whatever number, is refused with a clear answer
// and leaves nothing behind.
func TestHostileTrafficLeavesMemoryFlat(t *testing.T) {
	s, _ := serveTokens(t, "--max-new-sessions=1", "--max-sessions-per-user=3")
	big := strings.Repeat("x", 48<<10)
	var n int
	request := func() (reply, int) {
		n++
		unique := fmt.Sprintf("%d-%d", n, rand.Uint64())
		headers := map[string]string{"Authorization": "Bearer " + annToken}
		body, want := `{"jsonrpc":"2.0","id":7,"method":"ping"}`, 0
		switch n % 7 {
		case 0: // tokens that nobody gave
			headers["Authorization"], want = "Bearer "+strings.ReplaceAll(unique, "-", ""), http.StatusUnauthorized
		case 1: // ids that were never issued
			headers["Mcp-Session-Id"] = strings.Repeat("a", 28) + "." + strings.Repeat("A", 43)
			want = http.StatusNotFound
		case 2: // no ids at all
			headers["Mcp-Session-Id"], want = unique, http.StatusNotFound
		case 3: // headers of a size
			headers["X-"+unique], headers["User-Agent"] = big, big
			want = http.StatusRequestHeaderFieldsTooLarge
		case 4: // bodies of a size
			body, want = `{"jsonrpc":"2.0","id":1,"method":"`+strings.Repeat(big, 100)+`"}`, http.StatusRequestEntityTooLarge
			headers["Mcp-Session-Id"] = ""
		case 5: // sessions without end
			body = initialize
		case 6: // other networks, by their own account
			headers["X-Forwarded-For"], body = "192.0.2."+strconv.Itoa(n%250), initialize
		}
		return send(t, http.MethodPost, s.url, body, headers), want
	}
	flood := func(requests int) {
		for range requests {
			r, want := request()
			switch {
			case want != 0 && r.status != want:
				t.Fatalf("request %d: %d %s, want %d", n, r.status, r.body, want)
			case want == 0 && r.status != http.StatusOK && r.status != http.StatusServiceUnavailable:
				t.Fatalf("request %d: %d %s", n, r.status, r.body)
			}
		}
	}
	flood(700)
	before := s.memory(t)
	flood(1400)
	if grown := s.memory(t) - before; grown > 16<<20 {
		t.Errorf("memory grew by %.0f KiB", grown/1024)
	}
	// Others are served as soon as the address may begin a session again.
	eventually(t, "bob begins a session", func() bool {
		r := send(t, http.MethodPost, s.url, initialize, map[string]string{"Authorization": "Bearer " + bobToken})
		return r.status == http.StatusOK
	})
}
