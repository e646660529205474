package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
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

// cached are the caches before a database that a test runs with: the second
// tier, where there is one, is the Redis that is given.
func cached(tier2 string) string {
	if tier2 == "" {
		return "--cache=l1=8MiB"
	}
	return "--cache=l1=8MiB,l2=" + tier2
}

// Two servers with caches serve one session; a third process revokes it, and
// both refuse it within the bound.
func TestServersWithCachesRefuseWhatAnotherProcessRevoked(t *testing.T) {
	const bound = 3 * time.Second
	overDatabases(t, func(t *testing.T, db database) {
		store := "--store=" + db.url
		flags := []string{store, cached(""), fmt.Sprintf("--cache-staleness=%v", bound)}
		first, second := serve(t, "", flags...), serve(t, "", flags...)
		id := open(t, first.url, "")
		for _, s := range []*server{first, second} {
			eventually(t, "the cache answers", func() bool {
				if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
					t.Fatalf("ping: %d %s", r.status, r.body)
				}
				return s.metric(`session_cache_hits_total{tier="l1"}`) > 0
			})
			if s.metric(`session_cache_misses_total{tier="l1"}`) == 0 || s.metric(`session_cache_hits_total{tier="l3"}`) == 0 {
				t.Error("the reads that the cache did not answer are not counted")
			}
		}
		ref, _, _ := strings.Cut(id, ".")
		if _, stderr, status := coatcheck(t, "sessions", "revoke", ref, store); status != 0 {
			t.Fatalf("revoke: status %d, %s", status, stderr)
		}
		revoked := time.Now()
		for _, s := range []*server{first, second} {
			for {
				asked := time.Now() // an answer to what was asked after the bound must be no
				r := ping(t, s.url, id, "")
				if r.status == http.StatusNotFound {
					break
				}
				if late := asked.Sub(revoked); late > bound {
					t.Fatalf("served %v after the revocation: %d", late, r.status)
				}
			}
		}
	})
}

// Writes that are collected are kept when the server is killed.
func TestCollectedWritesSurviveKill9(t *testing.T) {
	s := serve(t, t.TempDir(), "--batch=size=64,interval=1ms", cached(""))
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
