package tiered_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// A cache in the process before a store, which would be a database. A write is
// seen by every read that begins after it was acknowledged.
func Example() {
	ctx := context.Background()
	copies, err := cache.New(cache.Options{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := tiered.New(memory.New(memory.Options{}), tiered.Options{
		Tiers:     []tiered.Tier{{Cache: copies}},
		Staleness: 2 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close() // the store below and the cache too

	ref, _ := state.NewRef(1, rand.Reader)
	key := state.Key{Namespace: "shop", Ref: ref}
	_, err = state.Do(ctx, s, state.CreateOp{
		Record: state.Record{Namespace: key.Namespace, Kind: "session", Ref: key.Ref},
		Idle:   time.Hour, Lifetime: 24 * time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		_, err = s.Get(ctx, key)
	}
	fmt.Println("found:", err == nil)

	_, err = state.Do(ctx, s, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = s.Get(ctx, key)
	fmt.Println("after it was revoked:", err != nil)
	fmt.Println("other processes know within", s.Guarantees().Staleness)
	// Output:
	// found: true
	// after it was revoked: true
	// other processes know within 2s
}
