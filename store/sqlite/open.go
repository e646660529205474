package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// prepareFile makes sure that path is a file that only its owner can read, and
// returns where it is: SQLite puts its log there, not beside a link.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty: give the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("create its folder: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return "", errors.New("it is a folder: give the path of a file")
	case err == nil && !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case errors.Is(err, fs.ErrNotExist):
		err = createFile(path, folder)
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// createFile creates the file, which SQLite would make readable by all.
func createFile(path, folder string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	// Acknowledged writes are of no use in a file that has no name after a
	// loss of power.
	for _, dir := range []string{folder, filepath.Dir(folder)} {
		if err := syncFolder(dir); err != nil {
			return fmt.Errorf("sync its folder: %w", err)
		}
	}
	return nil
}

// syncFolder makes the names in a folder durable, where the system can.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // a folder that cannot be read was not made by us
	}
	err = f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// protect takes from others what the file itself does not give them. The log
// and its index are created by SQLite with the umask.
func protect(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		other, err := os.Stat(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if extra := other.Mode().Perm() &^ info.Mode().Perm(); extra == 0 {
			continue
		}
		if err := os.Chmod(path+suffix, other.Mode().Perm()&info.Mode().Perm()); err != nil {
			return fmt.Errorf("protect the log: %w", err)
		}
	}
	return nil
}

// connect opens a connection.
func (s *Store) connect(ctx context.Context, pragmas string) (*conn, error) {
	uri := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(s.path)}
	params := url.Values{
		"modeof": {s.path}, // the log gets the file's mode
		"vfs":    {vfsName},
	}
	if s.opts.VFS != "" {
		params.Set("vfs", s.opts.VFS)
	}
	registerVFS()
	uri.RawQuery = strings.ReplaceAll(params.Encode(), "+", "%20") // SQLite knows no plus for a space
	db, err := sqlite3.OpenContext(ctx, uri.String())
	if err != nil {
		return nil, err
	}
	if err := db.BusyTimeout(s.opts.BusyTimeout); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.Exec(pragmas); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return newConn(db), nil
}

// connectWriter opens the connection that writes, and sets up the file.
func (s *Store) connectWriter(ctx context.Context) (*conn, error) {
	c, err := s.connect(ctx, writerPragmas+s.opts.pragmas)
	if err != nil {
		return nil, err
	}
	if err := s.setUp(ctx, c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

const (
	commonPragmas = `PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;`
	writerPragmas = commonPragmas + `PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;
		PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = 2000;`
	readerPragmas = commonPragmas + `PRAGMA query_only = ON; PRAGMA cache_size = -4096;`
)

func (s *Store) setUp(ctx context.Context, c *conn) error {
	if _, err := schemaVersion(c); err != nil { // before anything is changed
		return err
	}
	if err := s.useLog(ctx, c); err != nil {
		return err
	}
	return migrate(c, s.clock.now())
}

// useLog sets the journal mode. SQLite does not wait for the lock that this
// takes if another process sets up the same new file just now.
func (s *Store) useLog(ctx context.Context, c *conn) error {
	deadline := time.Now().Add(s.opts.BusyTimeout)
	for {
		var mode string
		_, err := c.query("PRAGMA journal_mode = WAL").one(func(r row) error { mode = r.text(0); return nil })
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return fmt.Errorf("%w: its file system does not support a write-ahead log", state.ErrUnavailable)
		case !errors.Is(err, sqlite3.BUSY) || time.Now().After(deadline):
			return fmt.Errorf("set journal mode: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
