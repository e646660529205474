//go:build linux || darwin

package sqlite

import (
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The header of the WAL index: two copies of 48 bytes at the start of the
// shared memory (sqlite.org/walformat.html, section 2.2). SQLite writes the
// second copy, then the first, at the end of each commit.
//
// SQLite itself compares these bytes with those it saw last to decide whether
// the pages that it has in memory are still right. Doing the same here is
// exactly as safe.
const (
	headerWords   = 6
	headerVersion = 3007000
)

// indexWitness reads the header where SQLite shares it between processes.
type indexWitness struct {
	memory []byte
}

// newWitness returns the best witness that works. The connections of the store
// keep the shared memory in being as long as it is mapped.
func (s *Store) newWitness(c *conn) witness {
	if s.opts.VFS != "" || s.opts.noWALPeek {
		return &versionWitness{}
	}
	w, err := mapIndex(s.path + "-shm")
	if err != nil {
		s.opts.Logger.Warn("cannot map the WAL index, reads will be slower", "error", err)
		return &versionWitness{}
	}
	if m, ok := w.glance(); !ok || uint32(m.words[0]) != headerVersion {
		s.opts.Logger.Warn("the WAL index is of an unknown form, reads will be slower")
		if err := w.close(); err != nil {
			s.opts.Logger.Warn("cannot unmap the WAL index", "error", err)
		}
		return &versionWitness{}
	}
	return w
}

func mapIndex(path string) (*indexWitness, error) {
	// The locks of SQLite on this file are of the open-file kind: closing
	// another descriptor of it does not drop them.
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &indexWitness{memory: memory}, nil
}

func (w *indexWitness) glance() (mark, bool) {
	first := w.read(0)
	second := w.read(headerWords)
	return first, first == second && first.valid()
}

func (w *indexWitness) read(word int) mark {
	var m mark
	for i := range m.words {
		m.words[i] = atomic.LoadUint64((*uint64)(unsafe.Pointer(&w.memory[(word+i)*8])))
	}
	return m
}

func (w *indexWitness) look(*conn) mark {
	m, ok := w.glance()
	if !ok { // a commit is being written: it will be looked at again
		return mark{}
	}
	return m
}

func (w *indexWitness) shared(mu *sync.Mutex, check func() bool) bool {
	mu.Lock()
	defer mu.Unlock()
	return check() // nearly always finds that somebody has done it already
}

func (w *indexWitness) close() error { return unix.Munmap(w.memory) }
