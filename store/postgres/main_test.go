package postgres_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgresserver.StopShared()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// open opens a store that is closed with the test.
func open(t testing.TB, url string, opts postgres.Options) *postgres.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := postgres.Open(ctx, url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// fresh opens a store on a database of its own.
func fresh(t testing.TB, opts postgres.Options) *postgres.Store {
	t.Helper()
	return open(t, postgresserver.Shared(t).Database(t), opts)
}

func harness() statetest.Harness {
	urls := map[state.Store]string{}
	return statetest.Harness{
		OwnClock: true,
		Open: func(t testing.TB, _ *statetest.Clock) state.Store {
			url := postgresserver.Shared(t).Database(t)
			s := open(t, url, postgres.Options{})
			urls[s] = url
			return s
		},
		Reopen: func(t testing.TB, s state.Store) state.Store {
			return open(t, urls[s], postgres.Options{})
		},
	}
}

func TestStoreKeepsTheContract(t *testing.T) { statetest.Run(t, harness()) }

func TestEventStoreKeepsTheContract(t *testing.T) { statetest.RunEvents(t, harness()) }
