package sqlite

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A smallDisk lets its files grow by a number of bytes.
type smallDisk struct {
	err error

	mu    sync.Mutex // guards what follows
	room  int64
	sizes map[string]int64
}

func newSmallDisk(err error) *smallDisk {
	return &smallDisk{err: err, room: 1 << 30, sizes: map[string]int64{}}
}

func (d *smallDisk) set(room int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func (d *smallDisk) resize(path string, size int64) {
	d.room -= size - d.sizes[path]
	d.sizes[path] = size
}

func (d *smallDisk) vfs() *testVFS {
	return &testVFS{
		write: func(path string, p []byte, off int64) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			end := max(off+int64(len(p)), d.sizes[path])
			if end-d.sizes[path] > d.room {
				return d.err
			}
			d.resize(path, end)
			return nil
		},
		wrote: func(path string, p []byte, off int64) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if p == nil {
				d.resize(path, off)
			}
		},
		removed: func(path string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.resize(path, 0)
		},
	}
}

func TestFullDiskIsAClearErrorAndPasses(t *testing.T) {
	for name, full := range map[string]error{
		"SQLite": sqlite3.FULL,
		"System": &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			d := newSmallDisk(full)
			s := openTest(t, "", Options{VFS: d.vfs().register(t), CacheBytes: -1})
			kept := create(t, s, "kept")
			d.set(0)

			lost := newKey(t)
			for _, op := range []state.Op{
				createOp(lost, strings.Repeat("x", 100_000)),
				state.UpdateOp{Key: kept, Version: 1, Data: valueData("changed")},
				state.DeleteOp{Key: kept, Reason: state.ReasonLogout},
			} {
				_, err := state.Do(t.Context(), s, op)
				if !errors.Is(err, state.ErrFull) || !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) {
					t.Errorf("%T on a full disk: %v, want ErrFull", op, err)
				}
				if err != nil && (!strings.Contains(err.Error(), s.path) || !strings.Contains(err.Error(), "free some")) {
					t.Errorf("the error does not say what to do: %v", err)
				}
			}
			if r := get(t, s, kept); r.Version != 1 {
				t.Errorf("read version %d on a full disk, want 1", r.Version)
			}
			if _, err := s.Get(t.Context(), lost); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("half-written: %v", err)
			}

			d.set(1 << 30)
			do(t, s, state.UpdateOp{Key: kept, Version: 1, Data: valueData("changed")})
			do(t, s, createOp(lost, strings.Repeat("x", 100_000)))
			if err := integrity(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
}

// A large write that does not fit must not fail a small one that does, though
// they wait at the same time.
func TestLargeWriteDoesNotFillTheDiskForSmallOnes(t *testing.T) {
	d := newSmallDisk(sqlite3.FULL)
	s := openTest(t, "", Options{VFS: d.vfs().register(t)})
	kept := create(t, s, "kept")
	d.set(150_000)
	results := applyTogether(t, s,
		createOp(newKey(t), strings.Repeat("x", 200_000)),
		state.UpdateOp{Key: kept, Version: 1, Data: valueData("changed")},
	)
	if !errors.Is(results[0].Err, state.ErrFull) {
		t.Errorf("large write: %v, want ErrFull", results[0].Err)
	}
	if results[1].Err != nil {
		t.Errorf("small write: %v", results[1].Err)
	}
}

// applyTogether has each operation applied by a caller of its own, all in one
// group.
func applyTogether(t *testing.T, s *Store, ops ...state.Op) []state.Result {
	t.Helper()
	release := holdWriter(t, s)
	results := make([]state.Result, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() { results[i] = s.Apply(t.Context(), op)[0] })
		eventually(t, "the operation waits", func() bool { return len(s.writer.queue) == i+1 })
	}
	release()
	wg.Wait()
	return results
}

// holdWriter keeps the writer busy until the function it returns is called.
func holdWriter(t *testing.T, s *Store) (release func()) {
	t.Helper()
	holding, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.writeJob(t.Context(), func(*tx) error {
			close(holding)
			<-let
			return nil
		})
		if err != nil {
			t.Errorf("hold the writer: %v", err)
		}
	})
	<-holding
	release = func() { once.Do(func() { close(let) }); wg.Wait() }
	t.Cleanup(release)
	return release
}

// The disk fills at every possible write: whatever happens then, what was
// acknowledged is there, and nothing is half-written.
func TestDiskFullAtEveryPoint(t *testing.T) {
	step := int64(19_901)
	if testing.Short() || raced {
		step = 79_409
	}
	for room := int64(0); room < 200_000; room += step {
		d := newSmallDisk(sqlite3.FULL)
		s, err := Open(t.Context(), t.TempDir()+"/state.db", Options{
			VFS: d.vfs().register(t), pragmas: "PRAGMA wal_autocheckpoint = 5;",
		})
		if err != nil {
			t.Fatal(err)
		}
		d.set(room)
		l := newLedger()
		work(t.Context(), s, l.note)
		d.set(1 << 30)
		if err := errors.Join(l.compare(t.Context(), s), s.Close()); err != nil {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

func TestOneFailedOperationSpoilsNoOther(t *testing.T) {
	s := openTest(t, "", Options{})
	good, bad := create(t, s, "good"), create(t, s, "bad")
	byHand(t, s, fmt.Sprintf("UPDATE records SET data = 'no json' WHERE ref = '%s'", bad.Ref))
	meta := &state.Metadata{UserAgent: "agent"}
	results := applyTogether(t, s,
		state.UpdateOp{Key: good, Version: 1, Meta: meta},
		state.UpdateOp{Key: bad, Version: 1, Meta: meta},
		state.UpdateOp{Key: good, Version: 2, Meta: meta},
	)
	if results[0].Err != nil || results[2].Err != nil {
		t.Errorf("good operations: %v, %v", results[0].Err, results[2].Err)
	}
	if !errors.Is(results[1].Err, state.ErrCorrupt) {
		t.Errorf("operation on a corrupt record: %v, want ErrCorrupt", results[1].Err)
	}
	if _, err := s.Get(t.Context(), bad); !errors.Is(err, state.ErrCorrupt) || errors.Is(err, state.ErrNotFound) {
		t.Errorf("Get of a corrupt record: %v, want ErrCorrupt", err)
	}
	// It can still be ended.
	do(t, s, state.DeleteOp{Key: bad, Reason: state.ReasonRevoked})
}
