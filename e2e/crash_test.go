package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestNothingAcknowledgedIsLost kills the server while clients fill their
// baskets, again and again. Whatever a client was told is in its basket must
// be in it afterwards, in order; what it was not told may be or not.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	const shoppers, rounds, perRound = 8, 5, 60
	s := serve(t, t.TempDir(), "--max-sessions-per-user=0")
	ids := make([]string, shoppers)
	for i := range ids {
		ids[i] = open(t, s.url, "")
	}
	acknowledged := make([][]string, shoppers)
	for round := range rounds {
		var total atomic.Int64
		enough := make(chan struct{})
		var wg sync.WaitGroup
		for i := range shoppers {
			wg.Go(func() {
				for n := 0; ; n++ {
					item := fmt.Sprintf("%d-%d-%d", i, round, n)
					if !put(t, s.url, ids[i], item) {
						return // the server is gone
					}
					acknowledged[i] = append(acknowledged[i], item)
					if total.Add(1) == perRound {
						close(enough)
					}
				}
			})
		}
		<-enough
		s.kill()
		wg.Wait()
		s = s.restart()
		for i := range shoppers {
			have := basketOf(t, s.url, ids[i])
			kept := slices.DeleteFunc(slices.Clone(have), func(item string) bool { return !slices.Contains(acknowledged[i], item) })
			if !slices.Equal(kept, acknowledged[i]) {
				t.Errorf("round %d: the basket has %v, acknowledged were %v", round, have, acknowledged[i])
			}
			if len(have) > len(acknowledged[i])+rounds {
				t.Errorf("round %d: %d items, %d acknowledged: more than one in flight a round", round, len(have), len(acknowledged[i]))
			}
		}
	}
}

// put reports whether the server acknowledged the item.
func put(t *testing.T, url, session, item string) bool {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"add_item","arguments":{"item":%q}}}`, item)
	r, err := try(t.Context(), http.DefaultClient, http.MethodPost, url, body, sessionHeaders(session, ""))
	return err == nil && r.status == http.StatusOK && strings.Contains(r.body, `"structuredContent"`) && !strings.Contains(r.body, `"isError":true`)
}

func basketOf(t *testing.T, url, session string) []string {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"view_basket","arguments":{}}}`
	r := send(t, http.MethodPost, url, body, sessionHeaders(session, ""))
	_, list, ok := strings.Cut(r.body, `"structuredContent":{"items":[`)
	list, _, ends := strings.Cut(list, "]")
	if r.status != http.StatusOK || !ok || !ends {
		t.Fatalf("view_basket: %d %s", r.status, r.body)
	}
	if list == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(list, `"`, ""), ",")
}
