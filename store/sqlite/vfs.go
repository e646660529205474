package sqlite

import (
	"errors"
	"sync"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// vfsName is under which the driver knows diskVFS. The driver keeps file
// systems in a table of the process.
const vfsName = "coatcheck"

var registerVFS = sync.OnceFunc(func() { vfs.Register(vfsName, diskVFS{vfs.Find("").(vfs.VFSFilename)}) })

// diskVFS is the driver's own file system, but tells SQLite of a full disk. The
// driver takes that for any other I/O error, and forgets the error of the
// system before it can be asked for.
type diskVFS struct{ vfs.VFSFilename }

// OpenFilename implements [vfs.VFSFilename].
func (d diskVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := d.VFSFilename.OpenFilename(name, flags)
	if err != nil {
		return nil, flags, fullOr(err)
	}
	if known, ok := f.(systemFile); ok {
		return diskFile{known}, flags, nil
	}
	return f, flags, nil
}

// A systemFile is what the driver's files can do. Wrapping must lose nothing.
type systemFile interface {
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
	vfs.FileSharedMemory
}

type diskFile struct{ systemFile }

func (f diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.systemFile.WriteAt(p, off)
	return n, fullOr(err)
}

func (f diskFile) Truncate(size int64) error { return fullOr(f.systemFile.Truncate(size)) }

// SizeHint implements [vfs.FileSizeHint].
func (f diskFile) SizeHint(size int64) error { return fullOr(f.systemFile.SizeHint(size)) }

// fullOr is not for syncs: what a failed sync was to make durable may have been
// written, and FULL says that it was not.
func fullOr(err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return vfs.SystemError(err, sqlite3.FULL)
		}
	}
	return err
}
