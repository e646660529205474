package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Create makes a key file with one new key, which is active, and opens it. A
// file that is there already is [ErrExists].
func Create(ctx context.Context, path string, opts Options) (*Ring, error) {
	r, err := New(opts)
	if err != nil {
		return nil, err
	}
	if err := r.SaveAs(ctx, path, opts); err != nil {
		return nil, err
	}
	return Open(ctx, path, opts)
}

// Open reads a key file. It must be readable and writable by its owner alone
// ([ErrExposed]; not checked on Windows, where modes say nothing). Changes are
// written back to it, in one step each.
func Open(ctx context.Context, path string, opts Options) (*Ring, error) {
	r := &Ring{opts: opts.defaults(), path: path}
	k, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	r.use(k)
	return r, nil
}

// Reload reads the file again and reports whether the keys have changed. After
// an error they have not. A ring that is not kept in a file stays as it is.
func (r *Ring) Reload(ctx context.Context) (changed bool, err error) {
	if r.path == "" {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, err := r.load(ctx)
	if err != nil {
		return false, err
	}
	was := r.now.Load()
	if same(was, k) {
		return false, nil
	}
	r.use(k)
	return true, nil
}

// load reads the file; the keys must not be another ring's.
func (r *Ring) load(ctx context.Context) (*keys, error) {
	b, err := readPrivate(r.path)
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", r.path, err)
	}
	k, err := decode(ctx, b, r.opts.Master, r.now.Load())
	if err != nil {
		return nil, fmt.Errorf("read key file %s: %w", r.path, err)
	}
	if was := r.now.Load(); was != nil && !was.root.secret.Equal(k.root.secret) {
		return nil, fmt.Errorf("read key file %s: %w: its root is not the one this process began with; start anew if that is meant", r.path, ErrOtherRing)
	}
	return k, nil
}

// same reports whether two readings of one file have the same keys.
func same(a, b *keys) bool {
	if a.root != b.root || len(a.list) != len(b.list) {
		return false
	}
	for i, k := range a.list {
		if k.info != b.list[i].info || k.material != b.list[i].material {
			return false
		}
	}
	return true
}

// SaveAs writes the ring to a new file, as a ring with the same root and keys;
// [ErrExists] if there is one. r itself stays where it was: open the file to
// use that.
func (r *Ring) SaveAs(ctx context.Context, path string, opts Options) error {
	k := r.now.Load().clone()
	k.root = &material{secret: k.root.secret}
	for _, key := range k.list {
		if key.material != nil {
			key.material = &material{secret: key.material.secret} // wrapped anew
		}
	}
	b, err := k.encode(ctx, opts.Master)
	if err != nil {
		return err
	}
	if err := writeNew(path, b); err != nil {
		return fmt.Errorf("write key file %s: %w", path, err)
	}
	return nil
}

// changeFile lets fn change the keys that are in the file now, whoever wrote
// them, writes them back and uses them. The file is locked meanwhile, so that
// no change of another process is lost (not on Windows).
func (r *Ring) changeFile(ctx context.Context, fn func(*keys) error) error {
	unlock, err := lockFile(ctx, r.path)
	if err != nil {
		return fmt.Errorf("lock key file %s: %w", r.path, err)
	}
	defer unlock()
	read, err := r.load(ctx)
	if err != nil {
		return err
	}
	next := read.clone()
	if err := fn(next); err != nil {
		return err
	}
	b, err := next.encode(ctx, r.opts.Master)
	if err != nil {
		return err
	}
	if err := replace(r.path, b); err != nil {
		return fmt.Errorf("write key file %s: %w", r.path, err)
	}
	written, err := decode(ctx, b, r.opts.Master, next)
	if err != nil {
		return fmt.Errorf("read back key file %s: %w", r.path, err)
	}
	r.use(written)
	return nil
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: not a regular file", ErrMalformedRing)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return nil, ErrExposed
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%w: over %d bytes", ErrMalformedRing, maxFile)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, maxFile)); err != nil {
		return nil, withoutPath(err)
	}
	return b.Bytes(), nil
}

// writeTemporary writes a file beside path, readable by its owner alone, whose
// content is on disk when it returns.
func writeTemporary(path string, b []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, b []byte) error {
	temporary, err := writeTemporary(path, b)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return ErrExists
		}
		return err
	}
	return syncFolder(path)
}

// replace replaces the file in one step: a reader sees the old or the new.
func replace(path string, b []byte) error {
	temporary, err := writeTemporary(path, b)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return syncFolder(path)
}

// syncFolder makes the name of a file durable.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// withoutPath leaves out the path, which the caller names.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
