package sqlite_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

func Example() {
	folder, err := os.MkdirTemp("", "coatcheck")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "state.db")
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		log.Fatal(err)
	}

	store := open(path)
	_, err = state.Do(context.Background(), store, state.CreateOp{
		Record: state.Record{
			Namespace: "shop", Kind: "basket", Ref: ref, User: "alice",
			Data: map[string]json.RawMessage{"items": json.RawMessage(`["tea"]`)},
		},
		Idle: 2 * time.Hour, Lifetime: 24 * time.Hour,
	})
	if err != nil {
		log.Fatal(err) // else it is on disk now
	}
	store.Close()

	store = open(path) // as after a restart
	defer store.Close()
	basket, err := store.Get(context.Background(), state.Key{Namespace: "shop", Ref: ref})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(basket.User, string(basket.Data["items"]))
	// Output: alice ["tea"]
}

func open(path string) *sqlite.Store {
	store, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return store
}
