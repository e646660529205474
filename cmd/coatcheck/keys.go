package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
)

// guideKey is the guide's variable, which holds a key.
const guideKey = "SESSION_ENCRYPTION_KEY"

// reloadEvery is how often a server reads its key ring again.
const reloadEvery = 2 * time.Second

// ring returns the keys that the flags name, else those of the environment; nil
// if there are none. No error repeats a key.
func (f *storeFlags) ring(ctx context.Context) (*keyring.Ring, error) {
	switch {
	case f.EncryptionKey != "" && f.KeyRing != "":
		return nil, usagef("--encryption-key and --key-ring: write one of them")
	case f.KeyRing != "":
		ring, err := keyring.Open(ctx, f.KeyRing, keyring.Options{})
		if err != nil {
			return nil, usagef("--key-ring: %w", err)
		}
		return ring, nil
	case f.EncryptionKey != "":
		text, err := readKey(f.EncryptionKey)
		if err != nil {
			return nil, usagef("--encryption-key: %w", err)
		}
		return ringOf("--encryption-key", text)
	}
	// A variable that is set and empty is more likely a mistake than a wish
	// for plain records.
	if text, set := os.LookupEnv(guideKey); set {
		return ringOf(guideKey, text)
	}
	return nil, nil
}

func ringOf(where, text string) (*keyring.Ring, error) {
	ring, err := keyring.FromKey(text)
	if err != nil {
		return nil, usagef("%s: %w", where, err)
	}
	return ring, nil
}

// maxKeyFile is more than a key takes.
const maxKeyFile = 1 << 10

// readKey reads a file that only its owner may read. Its errors do not repeat
// the name: who wrote a key in place of a file would find it in a log.
func readKey(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no such file: write the name of one that holds the key")
	}
	if err != nil {
		return "", fmt.Errorf("read the file: %w", errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("read the file: %w", errors.Unwrap(err))
	case !info.Mode().IsRegular():
		return "", errors.New("this is no file: write the name of one that holds the key")
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return "", keyring.ErrExposed
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("read the file: %w", errors.Unwrap(err))
	}
	return string(text), nil
}
