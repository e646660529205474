package encrypted_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// What goes through the wrapper is readable, what stands below is not.
func Example() {
	ctx := context.Background()
	ring, err := keyring.FromKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=") // of SESSION_ENCRYPTION_KEY
	if err != nil {
		fmt.Println(err)
		return
	}
	inner := memory.New(memory.Options{})
	store, err := encrypted.New(inner, ring, encrypted.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	record := state.Record{
		Namespace: "shop", Kind: "basket", Ref: ref, User: "alice",
		Data: map[string]json.RawMessage{"items": json.RawMessage(`["coat"]`)},
	}
	if _, err := state.Do(ctx, store, state.CreateOp{Record: record, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
		fmt.Println(err)
		return
	}
	got, err := store.Get(ctx, record.Key())
	fmt.Println(got.User, string(got.Data["items"]), err)
	below, err := inner.Get(ctx, record.Key())
	fmt.Println(below.User == "alice", len(below.Data), err)
	// Output:
	// alice ["coat"] <nil>
	// false 0 <nil>
}

// A rotation: old records stay readable, are sealed anew in the background, and
// then the old key can go.
func ExampleStore_Reencrypt() {
	ctx := context.Background()
	ring, err := keyring.New(keyring.Options{}) // keyring.Open for one that lasts
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := encrypted.New(memory.New(memory.Options{}), ring, encrypted.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	var key state.Key
	for range 3 {
		ref, err := state.NewRef(0, rand.Reader)
		if err != nil {
			fmt.Println(err)
			return
		}
		key = state.Key{Namespace: "shop", Ref: ref}
		op := state.CreateOp{Record: state.Record{Namespace: "shop", Kind: "basket", Ref: ref}, Idle: time.Hour, Lifetime: time.Hour}
		if _, err := state.Do(ctx, store, op); err != nil {
			fmt.Println(err)
			return
		}
	}

	old := ring.Active().ID()
	if _, err := ring.Rotate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	done, err := store.Reencrypt(ctx, encrypted.ReencryptOptions{Namespace: "shop"})
	fmt.Println(done.Rewritten, "of", done.Seen, err)
	if err := ring.Revoke(ctx, old); err != nil {
		fmt.Println(err)
		return
	}
	_, err = store.Get(ctx, key)
	fmt.Println(errors.Is(err, encrypted.ErrRevokedKey))
	// Output:
	// 3 of 3 <nil>
	// false
}
