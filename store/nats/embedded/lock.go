package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrInUse is the error for a folder that another process uses.
var ErrInUse = errors.New("another process uses it")

var errLocked = errors.New("locked")

const lockFile = "lock"

// lockDir makes the folder, and makes sure that no other process uses it until
// the file is closed.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("the folder %s: %w: stop that, or write another dir", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock the folder %s: %w", dir, err)
	}
	return f, nil
}
