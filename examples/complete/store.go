package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// namespace separates this server from others on the same store.
const namespace = "complete"

// openStore opens the store that the environment names, sealed if it has a key.
// A program that always uses the same store imports that package alone.
func openStore(ctx context.Context, getenv func(string) string) (open.Store, error) {
	url, err := storeURL(getenv)
	if err != nil {
		return nil, err
	}
	opts := open.Options{Namespace: namespace}
	if key := getenv("SESSION_ENCRYPTION_KEY"); key != "" {
		if opts.Ring, err = keyring.FromKey(key); err != nil {
			return nil, fmt.Errorf("SESSION_ENCRYPTION_KEY: %w", err)
		}
	}
	return open.Open(ctx, url, opts)
}

func storeURL(getenv func(string) string) (string, error) {
	var variable string
	switch getenv("SESSION_STORE") {
	case "", "memory":
		return "memory:", nil
	case "redis":
		variable = "REDIS_URL"
	case "postgres":
		variable = "DATABASE_URL"
	default:
		// A typing error must not put sessions where they are lost.
		return "", errors.New("SESSION_STORE: set it to memory, redis or postgres")
	}
	url := getenv(variable)
	if url == "" {
		return "", fmt.Errorf("%s is not set: SESSION_STORE needs it", variable)
	}
	return url, nil
}
