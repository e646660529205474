package nats_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// Stores that know nothing of one another let a user have no more than the
// limit, whether they refuse or evict.
func TestStoresKeepTheLimitOfAUserTogether(t *testing.T) {
	t.Parallel()
	const limit, tries = 3, 4
	servers := natsserver.StartCluster(t, 3, "-sync=false")
	var stores []*nats.Store
	for i := range 6 {
		conn := connect(t, servers[i%len(servers)].URL())
		stores = append(stores, open(t, conn, nats.Options{Streams: 2, Replicas: 3, Timeout: 20 * time.Second}))
	}
	for user, refuse := range map[string]bool{"refused": true, "evicted": false} {
		var made, ended atomic.Int64
		var creators, watcher sync.WaitGroup
		done := make(chan struct{})
		watcher.Go(func() {
			for over := false; !over; {
				over = isClosed(done) // once more after the last was made
				if n, err := live(stores[0], user); err != nil || n > limit {
					t.Errorf("%s: %d records, %v", user, n, err)
				}
			}
		})
		for _, s := range stores {
			creators.Go(func() {
				for range tries {
					op := creation(newKey(t, 7), user)
					op.Limit = state.Limit{PerUser: limit, Refuse: refuse}
					res, err := state.Do(context.Background(), s, op)
					ended.Add(int64(len(res.Ended)))
					switch {
					case err == nil:
						made.Add(1)
					case !refuse || !errors.Is(err, state.ErrLimit):
						t.Errorf("%s: %v", user, err)
					}
				}
			})
		}
		creators.Wait()
		close(done)
		watcher.Wait()
		wantMade := int64(limit)
		if !refuse {
			wantMade = int64(len(stores) * tries)
		}
		n, err := live(stores[1], user)
		if err != nil || n != limit || made.Load() != wantMade || ended.Load() != wantMade-limit {
			t.Errorf("%s: %d live, %d made, %d ended, %v; want %d, %d, %d", user, n, made.Load(), ended.Load(), err, limit, wantMade, wantMade-limit)
		}
	}
}

// live counts what a user has. The records are read after their names, so that
// one may be left out that comes meanwhile, and none is that was there.
func live(s *nats.Store, user string) (n int, err error) {
	for _, err := range s.List(context.Background(), state.Query{Namespace: "test", User: &user}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// A total limit is judged without reading records while the streams hold fewer.
func TestATotalLimitThatIsFarOffReadsNothing(t *testing.T) {
	t.Parallel()
	conn := connect(t, natsserver.Start(t, "-sync=false").URL())
	s := open(t, conn, nats.Options{Streams: 2})
	const have = 40
	for range have {
		create(t, s, "")
	}
	reads := countReads(t, conn)
	try := func(limit int) (int, error) {
		reads()
		op := creation(newKey(t, 7), "")
		op.Limit.Total = limit
		_, err := state.Do(t.Context(), s, op)
		return reads(), err
	}
	if n, err := try(have + 100); err != nil || n > 3 {
		t.Errorf("far from the limit it reads %d messages, %v", n, err)
	}
	if n, err := try(have + 1); !errors.Is(err, state.ErrLimit) || n < have {
		t.Errorf("at the limit it reads %d messages, %v", n, err)
	}
	if n, err := try(have + 2); err != nil || n > 3 { // neither has tombstones
		t.Errorf("below the limit it reads %d messages, %v", n, err)
	}
}
