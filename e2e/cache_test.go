package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

// metric returns a sample of a server's metrics.
func (s *server) metric(series string) float64 {
	s.t.Helper()
	_, body := s.get("/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		s.t.Fatalf("no metric %s in\n%s", series, body)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// Two servers with caches serve one session; a third process revokes it, and
// both refuse it within the bound. The caches are each server's own, and a Redis
// that they share; with keys, nothing in that is clear.
func TestServersWithCachesRefuseWhatAnotherProcessRevoked(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		shared := redisserver.Start(t, "--rdbcompression", "no")
		_, key := newKey(t)
		t.Run("l1", func(t *testing.T) {
			refuseWhatAnotherRevoked(t, "", "--store="+db.url, "--cache=l1=8MiB")
		})
		t.Run("l2", func(t *testing.T) {
			refuseWhatAnotherRevoked(t, shared.Addr(), "--store="+db.url, "--namespace=two", "--encryption-key="+key, "--cache=l1=8MiB,l2=redis://"+shared.Addr())
		})
	})
}

// refuseWhatAnotherRevoked runs the servers; shared is where their second tier
// is, if they have one.
func refuseWhatAnotherRevoked(t *testing.T, shared string, store ...string) {
	const bound = 3 * time.Second
	flags := append([]string{fmt.Sprintf("--cache-staleness=%v", bound)}, store...)
	first, second := serve(t, "", flags...), serve(t, "", flags...)
	id := open(t, first.url, "")
	answers := func(s *server, tier string) func() bool {
		return func() bool {
			if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
				t.Fatalf("ping: %d %s", r.status, r.body)
			}
			return s.metric(`session_cache_hits_total{tier="`+tier+`"}`) > 0
		}
	}
	for _, s := range []*server{first, second} {
		eventually(t, "the cache answers", answers(s, "l1"))
		if s.metric(`session_cache_misses_total{tier="l1"}`) == 0 || s.metric(`session_cache_hits_total{tier="l3"}`) == 0 {
			t.Error("the reads that the cache did not answer are not counted")
		}
	}
	if shared != "" {
		// What one has read, the other is given: the session is new to it again
		// whenever its own copy is too old.
		eventually(t, "the shared cache answers", func() bool {
			return answers(first, "l2")() || answers(second, "l2")()
		})
		eventually(t, "the session is in the shared cache", func() bool {
			answers(first, "l2")()
			return sealedCopies(t, shared) > 0
		})
	}
	ref, _, _ := strings.Cut(id, ".")
	revoke := append([]string{"sessions", "revoke", ref}, store[:len(store)-1]...)
	if _, stderr, status := coatcheck(t, revoke...); status != 0 {
		t.Fatalf("revoke: status %d, %s", status, stderr)
	}
	revoked := time.Now()
	for _, s := range []*server{first, second} {
		for {
			asked := time.Now() // what was asked after the bound must be refused
			r := ping(t, s.url, id, "")
			if r.status == http.StatusNotFound {
				break
			}
			if late := asked.Sub(revoked); late > bound {
				t.Fatalf("served %v after the revocation: %d", late, r.status)
			}
		}
	}
}

// sealedCopies counts the copies of records in a Redis, and looks in them for
// what clients said of themselves.
func sealedCopies(t *testing.T, addr string) (copies int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := bufio.NewReader(conn)
	const leastCopy = 200 // bytes; what is remembered of others is shorter
	for _, k := range keysOf(t, conn, ask) {
		fmt.Fprintf(conn, "*2\r\n$4\r\nDUMP\r\n$%d\r\n%s\r\n", len(k), k)
		value := bulk(t, ask)
		if len(value) >= leastCopy {
			copies++
		}
		if strings.Contains(value, "Go-http-client") || strings.Contains(value, "coatcheck:mcp") || strings.Contains(value, "2025-11-25") {
			t.Errorf("key %q has what is clear", k)
		}
	}
	return copies
}

func keysOf(t *testing.T, conn net.Conn, from *bufio.Reader) (keys []string) {
	t.Helper()
	fmt.Fprint(conn, "*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n")
	head, err := from.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		keys = append(keys, bulk(t, from))
	}
	return keys
}

// bulk reads a bulk string of Redis's protocol.
func bulk(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	head, err := from.ReadString('\n')
	if err != nil || head[0] != '$' {
		t.Fatalf("%q, %v", head, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil || n < 0 {
		return "" // it has expired meanwhile
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(from, b); err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// Writes that are collected are kept when the server is killed.
func TestCollectedWritesSurviveKill9(t *testing.T) {
	s := serve(t, t.TempDir(), "--batch=size=64,interval=1ms", "--cache=l1=8MiB")
	id := open(t, s.url, "")
	for _, item := range []string{"hat", "coat"} {
		if !put(t, s.url, id, item) {
			t.Fatalf("%s was not acknowledged", item)
		}
	}
	if s.metric("session_batches_total") == 0 || s.metric("session_batched_operations_total") == 0 {
		t.Error("nothing was collected")
	}
	s.kill()
	s = s.restart()
	if got := basketOf(t, s.url, id); len(got) != 2 {
		t.Errorf("the basket has %v", got)
	}
}
