package migrate_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/migrate"
)

func Example() {
	ctx := context.Background()
	from, to := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer from.Close()
	defer to.Close()
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	record := state.Record{Namespace: "default", Kind: "session", Ref: ref}
	if _, err := state.Do(ctx, from, state.CreateOp{Record: record, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
		fmt.Println(err)
		return
	}
	stats, err := migrate.Pass(ctx, from, to, migrate.Options{Namespace: "default"})
	fmt.Println(stats, err)
	// Output: 1 records: 1 copied, 0 updated, 0 touched, 0 ended, 0 left alone <nil>
}
