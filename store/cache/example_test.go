package cache_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
)

// A reader takes the generation before it asks the store. Had the record
// changed in between, its Fill would be refused.
func Example() {
	ctx := context.Background()
	c, err := cache.New(cache.Options{MaxBytes: 16 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	ref, _ := state.NewRef(1, bytes.NewReader(make([]byte, 16)))
	generation, _ := c.Generation(ctx)
	read := state.Record{Namespace: "shop", Kind: "session", Ref: ref, Stamp: state.Stamp{Revision: 3}}

	_ = c.Invalidate(ctx, read.Key(), 4) // the record changed meanwhile
	_ = c.Fill(ctx, read, generation)
	_, found, _ := c.Get(ctx, read.Key())
	fmt.Println("old copy kept:", found)
	// Output: old copy kept: false
}
