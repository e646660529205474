package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

// A redisSet is several Redis servers with the store in them.
type redisSet struct {
	url string
	// failover kills a primary, and returns when another has its place.
	failover func()
}

var durableRedis = []string{"--appendonly", "yes", "--repl-diskless-sync-delay", "0"}

// redisSets start one of each kind. Each primary has one replica: the one that
// has confirmed what was acknowledged, and takes over.
var redisSets = map[string]func(t *testing.T) redisSet{
	"sentinel": func(t *testing.T) redisSet {
		set := redisserver.StartSentinels(t, 1, durableRedis...)
		return redisSet{
			url:      redisURL(set.Addrs(), "master="+redisserver.MasterSet),
			failover: func() { set.Primary.Kill(); set.AwaitSwitch(set.Primary) },
		}
	},
	"cluster": func(t *testing.T) redisSet {
		c := redisserver.StartCluster(t, 3, true, durableRedis...)
		return redisSet{
			url:      redisURL(c.Addrs(), "mode=cluster"),
			failover: func() { c.Masters[0].Kill(); c.AwaitPromotion(0) },
		}
	},
}

func redisURL(addrs []string, parameter string) string {
	q := url.Values{"addr": addrs[1:]}
	return "redis://" + addrs[0] + "?connect_timeout=1s&timeout=1s&wait_timeout=10s&" + parameter + "&" + q.Encode()
}

// Clients keep their dialogue when the server is killed, and when a primary of
// its database is.
func TestClientsGoOnOverSentinelAndCluster(t *testing.T) {
	for name, start := range redisSets {
		t.Run(name, func(t *testing.T) {
			set := start(t)
			for _, c := range clients {
				t.Run(c.name, func(t *testing.T) {
					goOnAfterKill9(t, c, serve(t, "", "--store="+set.url, "--namespace="+plain(c.name)))
				})
			}
			t.Run("failover", func(t *testing.T) { goOnAfterFailover(t, set) })
		})
	}
}

// goOnAfterFailover has clients fill their baskets while a primary is replaced.
// They are told to come back, never that their session is gone, and have in
// their baskets what they were told is in them.
func goOnAfterFailover(t *testing.T, set redisSet) {
	s := serve(t, "", "--store="+set.url, "--max-sessions-per-user=0")
	d := &dialogue{t: t, p: newGo(t, "2025-11-25"), note: "note:///menu"}
	if err := d.p.connect(s.url, ""); err != nil {
		t.Fatal(err)
	}
	d.begin()
	// Items of each before and after; and at most, since a basket that is full
	// takes no more.
	const shoppers, enough, most = 6, 10, 100
	ids := make([]string, shoppers)
	acknowledged := make([][]string, shoppers)
	for i := range ids {
		ids[i] = open(t, s.url, "")
	}
	var before, after [shoppers]atomic.Int64 // items acknowledged
	var failedOver atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range shoppers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				taken := &before[i]
				if failedOver.Load() {
					taken = &after[i]
				}
				item := fmt.Sprintf("%d-%d", i, n)
				if taken.Load() < most && put(t, s.url, ids[i], item) {
					acknowledged[i] = append(acknowledged[i], item)
					taken.Add(1)
					continue
				}
				if r := ping(t, s.url, ids[i], ""); r.status != http.StatusOK &&
					(r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "") {
					t.Errorf("ping during a failover: %d, Retry-After %q, %s", r.status, r.header.Get("Retry-After"), r.body)
					return
				}
			}
		})
	}
	all := func(counts *[shoppers]atomic.Int64) func() bool {
		return func() bool {
			for i := range counts {
				if counts[i].Load() < enough {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "items are acknowledged", all(&before))
	set.failover()
	failedOver.Store(true)
	// Of each: in a cluster only the sessions of one primary had to wait.
	eventually(t, "items are acknowledged after the failover", all(&after))
	close(stop)
	wg.Wait()
	for i := range ids {
		have := basketOf(t, s.url, ids[i])
		for _, item := range acknowledged[i] {
			if !slices.Contains(have, item) {
				t.Errorf("%s was acknowledged and is not in the basket", item)
			}
		}
	}
	d.again()
}
