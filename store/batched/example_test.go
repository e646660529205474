package batched_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// Each caller gets his own result, in however few groups they went.
func Example() {
	ctx := context.Background()
	s := batched.New(memory.New(memory.Options{}), batched.Options{})
	defer s.Close()

	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			ref, _ := state.NewRef(1, rand.Reader)
			_, err := state.Do(ctx, s, state.CreateOp{
				Record: state.Record{Namespace: "shop", Kind: "session", Ref: ref},
				Idle:   time.Hour, Lifetime: 24 * time.Hour,
			})
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	stats := s.Stats()
	fmt.Println(stats.Operations, "operations in at most as many groups:", stats.Groups <= stats.Operations)
	// Output: 100 operations in at most as many groups: true
}

// Touches that may be written behind do not wait for the store. What could not
// be stored is reported.
func ExampleWriteBehind() {
	s := batched.New(memory.New(memory.Options{}), batched.Options{
		WriteBehind: &batched.WriteBehind{
			Interval: 500 * time.Millisecond,
			OnLost:   func(l batched.Lost) { fmt.Println("touch not stored:", l.Op.Key, l.Err) },
		},
	})
	defer s.Close() // stores what is left

	fmt.Println(s.Guarantees().Staleness, s.Guarantees().Durability)
	// Output: 1s volatile
}
