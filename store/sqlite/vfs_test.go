package sqlite

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
)

// A testVFS is the operating system's file system with a hand in it. The hooks
// may be nil. They are called with the path of the file, by any goroutine.
type testVFS struct {
	name string
	// write is called before a write; an error is returned in its place.
	write func(path string, p []byte, off int64) error
	// wrote is called after a write or truncation that succeeded; p is nil
	// for a truncation to off.
	wrote func(path string, p []byte, off int64)
	// sync is called before a sync.
	sync func(path string) error
	// removed is called after a file was removed.
	removed func(path string)
}

var vfsCount atomic.Int64

// register makes the file system known to SQLite for the time of the test.
func (v *testVFS) register(t testing.TB) string {
	v.name = fmt.Sprintf("test-%d", vfsCount.Add(1))
	vfs.Register(v.name, diskVFS{v})
	t.Cleanup(func() { vfs.Unregister(v.name) })
	return v.name
}

func (v *testVFS) os() vfs.VFSFilename { return vfs.Find("").(vfs.VFSFilename) }

func (v *testVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := v.os().Open(name, flags)
	return v.wrap(name, f, err), out, err
}

func (v *testVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := v.os().OpenFilename(name, flags)
	return v.wrap(name.String(), f, err), out, err
}

func (v *testVFS) wrap(path string, f vfs.File, err error) vfs.File {
	if err != nil {
		return nil
	}
	return &testFile{systemFile: f.(systemFile), v: v, path: path}
}

func (v *testVFS) Delete(name string, syncDir bool) error {
	err := v.os().Delete(name, syncDir)
	if err == nil && v.removed != nil {
		v.removed(name)
	}
	return err
}

func (v *testVFS) Access(name string, flags vfs.AccessFlag) (bool, error) {
	return v.os().Access(name, flags)
}

func (v *testVFS) FullPathname(name string) (string, error) { return v.os().FullPathname(name) }

type testFile struct {
	systemFile
	v    *testVFS
	path string
}

func (f *testFile) WriteAt(p []byte, off int64) (int, error) {
	if f.v.write != nil {
		if err := f.v.write(f.path, p, off); err != nil {
			return 0, err
		}
	}
	n, err := f.systemFile.WriteAt(p, off)
	if err == nil && f.v.wrote != nil {
		f.v.wrote(f.path, p, off)
	}
	return n, err
}

func (f *testFile) Truncate(size int64) error {
	err := f.systemFile.Truncate(size)
	if err == nil && f.v.wrote != nil {
		f.v.wrote(f.path, nil, size)
	}
	return err
}

func (f *testFile) Sync(flags vfs.SyncFlag) error {
	if f.v.sync != nil {
		if err := f.v.sync(f.path); err != nil {
			return err
		}
	}
	return f.systemFile.Sync(flags)
}
