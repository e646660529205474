package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/session"
	storeopen "github.com/coatcheck-mcp/coatcheck/store/open"
)

// However many browsers of one user sign in at once, through whichever process,
// on whichever store: never more sessions than the policy allows.
func TestLimitHoldsWith64SignInsOfOneUserAtOnce(t *testing.T) {
	urls := map[string]string{
		"memory": "memory:", "sqlite": "sqlite:" + t.TempDir() + "/coatcheck.db",
		"cluster": "cluster:?name=a&listen=" + testkit.Addresses(t, 1)[0] + "&dir=" + t.TempDir(),
	}
	for name, start := range databases {
		urls[name] = start(t).url
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			for _, refuse := range []bool{false, true} {
				t.Run(fmt.Sprintf("refuse=%v", refuse), func(t *testing.T) {
					store, err := storeopen.Open(t.Context(), url, storeopen.Options{})
					if err != nil {
						t.Fatal(err)
					}
					defer store.Close()
					signInAtOnce(t, store, fmt.Sprintf("refuse-%v", refuse), refuse)
				})
			}
		})
	}
}

const manySignIns, allowedSessions = 64, 5

func signInAtOnce(t *testing.T, store storeopen.Store, namespace string, refuse bool) {
	t.Helper()
	managers := make([]*session.Manager, 4) // as in so many processes
	for i := range managers {
		var err error
		managers[i], err = session.NewManager(store, session.Options{
			Namespace: namespace, Policy: session.Policy{MaxPerUser: allowedSessions, RefuseOverLimit: refuse},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m := managers[0]
	anonymous := make([]session.ID, manySignIns)
	for i := range anonymous {
		s, err := m.Create(t.Context(), session.CreateRequest{Data: map[string]json.RawMessage{"n": fmt.Append(nil, i)}})
		if err != nil {
			t.Fatal(err)
		}
		anonymous[i] = s.ID
	}
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards won
		won []session.ID
	)
	for i, id := range anonymous {
		wg.Go(func() {
			s, err := managers[i%len(managers)].SignIn(t.Context(), id, session.SignInRequest{User: "ann"})
			switch {
			case err == nil:
				mu.Lock()
				defer mu.Unlock()
				won = append(won, s.ID)
			// Evicted by another sign-in before it was complete.
			case !refuse && errors.Is(err, session.ErrNotFound):
			case refuse && errors.Is(err, session.ErrLimit):
			default:
				t.Errorf("sign in: %v", err)
			}
		})
	}
	wg.Wait()
	user := "ann"
	n, err := m.Count(t.Context(), session.Query{User: &user})
	if err != nil || n != allowedSessions {
		t.Errorf("%d sessions, %v; want %d", n, err, allowedSessions)
	}
	open := 0
	for _, id := range won {
		if _, err := m.Get(t.Context(), id); err == nil {
			open++
		}
	}
	if open != allowedSessions || refuse && len(won) != allowedSessions {
		t.Errorf("%d ids were handed out and %d of them work", len(won), open)
	}
}
