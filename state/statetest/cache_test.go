package statetest

import (
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
)

func openCache(t testing.TB) state.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cache: %v", err)
		}
	})
	return c
}

func TestRunCacheOnTheInProcessCache(t *testing.T) { RunCache(t, openCache) }
