package state_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// Every write is an operation. An update says which version it was made from,
// so that of two that were made from the same only one is taken.
func Example() {
	ctx := context.Background()
	var store state.Store = memory.New(memory.Options{})
	defer store.Close()

	ref, err := state.NewRef(0x2a, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	key := state.Key{Namespace: "shop", Ref: ref}
	created, err := state.Do(ctx, store, state.CreateOp{
		Record:   state.Record{Namespace: key.Namespace, Kind: "basket", Ref: ref, User: "alice"},
		Idle:     2 * time.Hour,
		Lifetime: 24 * time.Hour,
		Limit:    state.Limit{PerUser: 5},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	add := state.UpdateOp{
		Key:     key,
		Version: created.Stamp.Version,
		Data:    map[string]json.RawMessage{"items": json.RawMessage(`["coat"]`)},
	}
	_, first := state.Do(ctx, store, add)
	_, second := state.Do(ctx, store, add)
	fmt.Println("first:", first)
	fmt.Println("second:", second, errors.Is(second, state.ErrConflict))

	_, _ = state.Do(ctx, store, state.DeleteOp{Key: key, Reason: state.ReasonLogout, By: "alice"})
	_, err = store.Get(ctx, key)
	var gone *state.NotFoundError
	if errors.As(err, &gone) {
		fmt.Println("ended by", gone.End.By, "because of", gone.End.Reason)
	}
	// Output:
	// first: <nil>
	// second: version conflict: want 1, have 2 true
	// ended by alice because of logout
}

// The text of a ref is safe in URLs, file names and shells.
func ExampleParseRef() {
	ref, err := state.ParseRef("1g0g40o50o40g0g1082gg40o50og")
	fmt.Println(ref, err)
	_, err = state.ParseRef("../../etc/passwd")
	fmt.Println(err)
	// Output:
	// 1g0g40o50o40g0g1082gg40o50og <nil>
	// malformed ref
}

func ExampleAppendRecord() {
	ref, _ := state.ParseRef("1g0g40o50o40g0g1082gg40o50og")
	r := state.Record{Namespace: "shop", Kind: "basket", Ref: ref, User: "alice"}
	form, err := state.AppendRecord(nil, &r)
	if err != nil {
		fmt.Println(err)
		return
	}
	back, err := state.DecodeRecord(form)
	fmt.Println(form[0], back.User, err)
	_, err = state.DecodeRecord(form[:20])
	fmt.Println(errors.Is(err, state.ErrCorrupt))
	// Output:
	// 1 alice <nil>
	// true
}
