package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A disk knows what of the files would survive a loss of power: what was
// synced. Writes since then are kept aside.
type disk struct {
	mu      sync.Mutex // guards everything
	synced  map[string][]byte
	pending map[string][]write
	steps   int // writes and syncs so far
	offAt   int // power fails at this step
	off     bool
	atOff   func() // called once, when power fails
}

// A write is one that was not synced; without data it is a truncation.
type write struct {
	data []byte
	off  int64
}

func (w write) apply(file []byte) []byte {
	if w.data == nil {
		if w.off < int64(len(file)) {
			return file[:w.off]
		}
		return append(file, make([]byte, w.off-int64(len(file)))...)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(file)) {
		file = append(file, make([]byte, end-int64(len(file)))...)
	}
	copy(file[w.off:], w.data)
	return file
}

func newDisk(offAt int, atOff func()) *disk {
	return &disk{synced: map[string][]byte{}, pending: map[string][]write{}, offAt: offAt, atOff: atOff}
}

// step counts, and fails from the loss of power on.
func (d *disk) step() error {
	d.steps++
	if !d.off && d.steps >= d.offAt {
		d.off = true
		d.atOff()
	}
	if d.off {
		return sqlite3.IOERR_WRITE
	}
	return nil
}

func (d *disk) vfs() *testVFS {
	return &testVFS{
		write: func(string, []byte, int64) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.step()
		},
		wrote: func(path string, p []byte, off int64) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.off {
				d.pending[path] = append(d.pending[path], write{slices.Clone(p), off})
			}
		},
		sync: func(path string) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err := d.step(); err != nil {
				return err
			}
			for _, w := range d.pending[path] {
				d.synced[path] = w.apply(d.synced[path])
			}
			delete(d.pending, path)
			return nil
		},
		removed: func(path string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.off {
				delete(d.synced, path)
				delete(d.pending, path)
			}
		},
	}
}

// restore writes what survived into a new folder. With luck above zero, each
// write that was not synced made it to the disk with that probability, in any
// order: a disk may do that, too.
func (d *disk) restore(t *testing.T, luck float64) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	folder := t.TempDir()
	paths := maps.Clone(d.synced)
	for path := range d.pending {
		if _, ok := paths[path]; !ok && luck > 0 {
			paths[path] = nil
		}
	}
	for path, content := range paths {
		for _, w := range d.pending[path] {
			if rand.Float64() < luck {
				content = w.apply(content)
			}
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(path)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "state.db")
}

// losePower works on a new store until power fails at the given step, and
// returns in what the restored store falls short of what was acknowledged.
func losePower(t *testing.T, offAt int, luck float64, pragmas string) (acknowledged int, err error) {
	t.Helper()
	l := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := newDisk(offAt, func() { l.close(); cancel() })
	path := filepath.Join(t.TempDir(), "state.db")
	// Checkpoints often, so that power fails in those, too.
	s, err := Open(t.Context(), path, Options{
		VFS: d.vfs().register(t), pragmas: "PRAGMA wal_autocheckpoint = 15;" + pragmas,
	})
	if err == nil {
		work(ctx, s, l.note)
		_ = s.Close() // it cannot checkpoint without power
	}
	restored, err := Open(t.Context(), d.restore(t, luck), Options{})
	if err != nil {
		return l.size(), fmt.Errorf("does not open any more: %w", err)
	}
	defer restored.Close()
	return l.size(), l.compare(t.Context(), restored)
}

func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	rounds := 24
	if testing.Short() || raced {
		rounds = 6
	}
	total := 0
	for i := range rounds {
		offAt := 1 + i*i*3 + rand.IntN(50)
		luck := []float64{0, 0.5, 0.9}[i%3]
		n, err := losePower(t, offAt, luck, "")
		if err != nil {
			t.Errorf("power lost at step %d with luck %v: %v", offAt, luck, err)
		}
		total += n
	}
	if total == 0 {
		t.Error("nothing was acknowledged in any round: the test shows nothing")
	}
	t.Logf("%d writes acknowledged", total)
}

// The same test must notice a database that does not sync, or only sometimes.
func TestPowerLossTestDetectsLoss(t *testing.T) {
	for _, mode := range []string{"OFF", "NORMAL"} {
		t.Run(mode, func(t *testing.T) {
			// Power may fail right after a checkpoint, which syncs.
			for offAt := 500; offAt < 900; offAt += 37 {
				if _, err := losePower(t, offAt, 0, "PRAGMA synchronous = "+mode); err != nil {
					return
				}
			}
			t.Error("with synchronous = " + mode + " nothing was lost: the test cannot fail")
		})
	}
}

// What was not acknowledged because the sync of its commit failed must not
// come back after a crash.
func TestFailedSyncLeavesNothingBehind(t *testing.T) {
	var failing bool
	var mu sync.Mutex
	d := newDisk(1<<62, func() {})
	v := d.vfs()
	sync := v.sync
	v.sync = func(path string) error {
		mu.Lock()
		fail := failing && filepath.Ext(path) == ".db-wal"
		failing = failing && !fail
		mu.Unlock()
		if fail {
			return sqlite3.IOERR_FSYNC
		}
		return sync(path)
	}
	s := openTest(t, filepath.Join(t.TempDir(), "state.db"), Options{VFS: v.register(t)})
	before := create(t, s, "before")
	mu.Lock()
	failing = true
	mu.Unlock()
	lost := newKey(t)
	_, err := state.Do(t.Context(), s, createOp(lost, "lost"))
	if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) {
		t.Fatalf("commit whose sync failed: %v, want ErrUnavailable", err)
	}
	restored := openTest(t, d.restore(t, 1), Options{})
	get(t, restored, before)
	for _, store := range []*Store{s, restored} {
		if _, err := store.Get(t.Context(), lost); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("what was not written is there: %v", err)
		}
	}
	create(t, s, "after")
}

func TestCommitThatCannotBeSettledIsUnknown(t *testing.T) {
	var mu sync.Mutex
	failing := false
	v := &testVFS{sync: func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if failing {
			return sqlite3.IOERR_FSYNC
		}
		return nil
	}}
	s := openTest(t, "", Options{VFS: v.register(t)})
	key := create(t, s, "kept")
	mu.Lock()
	failing = true
	mu.Unlock()
	_, err := state.Do(t.Context(), s, createOp(newKey(t), "unknown"))
	if !errors.Is(err, state.ErrUnknownOutcome) || errors.Is(err, state.ErrNotFound) {
		t.Fatalf("commit while no sync works: %v, want ErrUnknownOutcome", err)
	}
	get(t, s, key)
	mu.Lock()
	failing = false
	mu.Unlock()
	create(t, s, "after")
}
