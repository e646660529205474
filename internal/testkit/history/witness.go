package history

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Witness is writers that make, change and delete records until an error comes
// or they are stopped, and what was acknowledged to them.
type Witness struct {
	Done atomic.Int64 // acknowledged writes

	s    state.Store
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex // guards both below
	version map[state.Key]uint64
	deleted []state.Key
}

// StartWitness starts writers on records that nobody else writes.
func StartWitness(s state.Store) *Witness {
	w := &Witness{s: s, stop: make(chan struct{}), version: make(map[state.Key]uint64)}
	for i := range 8 {
		w.wg.Go(func() { w.write(byte(i * 31)) })
	}
	return w
}

func (w *Witness) write(routing byte) {
	for {
		ref, err := state.NewRef(routing, rand.Reader)
		if err != nil {
			return
		}
		key := state.Key{Namespace: "test", Ref: ref}
		if !w.apply(Creation(key, "alice"), func() { w.version[key] = 1 }) {
			return
		}
		for v := uint64(1); v < 4; v++ {
			if !w.apply(state.UpdateOp{Key: key, Version: v, Data: Data(int(v))}, func() { w.version[key] = v + 1 }) {
				return
			}
		}
		if routing%2 == 0 {
			continue
		}
		w.mu.Lock()
		delete(w.version, key) // unknown from here on
		w.mu.Unlock()
		if !w.apply(Revocation(key), func() { w.deleted = append(w.deleted, key) }) {
			return
		}
	}
}

func (w *Witness) apply(op state.Op, acknowledged func()) bool {
	select {
	case <-w.stop:
		return false
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if _, err := state.Do(ctx, w.s, op); err != nil {
		return false
	}
	w.mu.Lock()
	acknowledged()
	w.mu.Unlock()
	w.Done.Add(1)
	return true
}

// Finish stops the writers and waits for their last answers.
func (w *Witness) Finish() {
	close(w.stop)
	w.wg.Wait()
}

// Check reports what was acknowledged and is not there. Call it after Finish.
func (w *Witness) Check(t *testing.T, get func(state.Key) (state.Record, error)) {
	t.Helper()
	for key, version := range w.version {
		if r, err := get(key); err != nil || r.Version < version {
			t.Errorf("version %d was acknowledged; got version %d, %v", version, r.Version, err)
		}
	}
	for _, key := range w.deleted {
		if _, err := get(key); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("a deletion was acknowledged; got %v", err)
		}
	}
	t.Logf("%d records and %d deletions are as acknowledged", len(w.version), len(w.deleted))
}
