package open_test

import (
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func Example() {
	ring, err := keyring.New(keyring.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := open.Open(context.Background(), "memory:", open.Options{Ring: ring})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	fmt.Println(store.Guarantees().Durability)
	// Output: volatile
}
