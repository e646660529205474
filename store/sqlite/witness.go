package sqlite

import (
	"encoding/binary"
	"sync"
)

// A witness tells whether anything was committed to the database, by any
// process. There are two: one that looks into the shared memory of SQLite,
// which takes nanoseconds, and one that asks SQLite, which takes microseconds
// and works everywhere.
type witness interface {
	// glance returns the mark of the newest commit, if that can be had
	// without a connection and is stable.
	glance() (mark, bool)
	// look does the same with the connection that belongs to the cache's
	// lock, which is held. It returns an invalid mark if it cannot tell.
	look(c *conn) mark
	// shared runs check under mu and returns its result, or that of another
	// caller's check that began after this call.
	shared(mu *sync.Mutex, check func() bool) bool
	close() error
}

// A mark stands for one state of the database. Marks are equal exactly if
// nothing was committed in between. The zero mark is invalid.
type mark struct{ words [headerWords]uint64 }

func (m mark) valid() bool { return m != mark{} }

// commits is SQLite's count of commits (iChange, a 32-bit number at byte 8).
func (m mark) commits() uint32 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], m.words[1])
	return binary.NativeEndian.Uint32(b[:4])
}

// follows reports whether m is the state one commit after before. After another
// process crashed in the middle of a commit, SQLite counts from zero again:
// small numbers prove nothing.
func (m mark) follows(before mark) bool {
	return before.valid() && m.commits() == before.commits()+1 && m.commits() > 16
}

// versionWitness asks SQLite for its data_version.
type versionWitness struct {
	mu     sync.Mutex // guards began
	began  uint64     // checks
	result bool       // of the last check; guarded by the lock that shared is given
}

func (w *versionWitness) glance() (mark, bool) { return mark{}, false }

func (w *versionWitness) look(c *conn) mark {
	version, err := c.int64("PRAGMA data_version")
	if err != nil {
		return mark{}
	}
	return mark{words: [headerWords]uint64{1, uint64(version)}}
}

func (w *versionWitness) count(add uint64) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began += add
	return w.began
}

func (w *versionWitness) shared(mu *sync.Mutex, check func() bool) bool {
	ticket := w.count(0)
	mu.Lock()
	defer mu.Unlock()
	// Under mu no check is running: one that has a number above the ticket
	// began after this call, and is over.
	if w.count(0) > ticket {
		return w.result
	}
	w.count(1)
	w.result = check()
	return w.result
}

func (w *versionWitness) close() error { return nil }
