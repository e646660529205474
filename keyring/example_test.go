package keyring_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/coatcheck-mcp/coatcheck/keyring"
)

// A rotation: what was sealed before stays readable until the key is revoked.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "keys")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	ring, err := keyring.Create(ctx, filepath.Join(folder, "keys.json"), keyring.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	old := ring.Active()
	sealed := old.Cipher(keyring.RequestState).Seal(nil, []byte("state"), []byte("alice"))

	if _, err := ring.Rotate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	key, err := ring.Find(old.ID())
	if err != nil {
		fmt.Println(err)
		return
	}
	plain, err := key.Cipher(keyring.RequestState).Open(nil, sealed, []byte("alice"))
	fmt.Println(key.Info().State, string(plain), err)

	if err := ring.Revoke(ctx, old.ID()); err != nil {
		fmt.Println(err)
		return
	}
	_, err = ring.Find(old.ID())
	fmt.Println(err != nil)
	fmt.Println(old.Secret(keyring.Records))
	// Output:
	// retired state <nil>
	// true
	// [redacted]
}
