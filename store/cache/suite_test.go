package cache_test

import (
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
)

func TestCacheKeepsTheContract(t *testing.T) {
	statetest.RunCache(t, func(t testing.TB) state.Cache { return open(t, cache.Options{}) })
}

// A cache so small that it forgets most of what it is told.
func TestSmallCacheKeepsTheContract(t *testing.T) {
	statetest.RunCache(t, func(t testing.TB) state.Cache { return open(t, cache.Options{MaxBytes: 64 << 10}) })
}
