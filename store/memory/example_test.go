package memory_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// The limit is part of the create: at most two baskets, the oldest goes.
func Example() {
	ctx := context.Background()
	store := memory.New(memory.Options{MaxRecords: 10_000})
	defer store.Close()

	for range 3 {
		ref, err := state.NewRef(0, rand.Reader)
		if err != nil {
			fmt.Println(err)
			return
		}
		res, err := state.Do(ctx, store, state.CreateOp{
			Record:   state.Record{Namespace: "shop", Kind: "basket", Ref: ref, User: "alice"},
			Idle:     time.Hour,
			Lifetime: 24 * time.Hour,
			Limit:    state.Limit{PerUser: 2},
		})
		fmt.Println(len(res.Ended), "evicted,", err)
	}
	// Output:
	// 0 evicted, <nil>
	// 0 evicted, <nil>
	// 1 evicted, <nil>
}
