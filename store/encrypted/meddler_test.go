package encrypted_test

import (
	"context"
	"iter"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// A meddler is somebody who can change what an inner store has: what it answers
// is changed before it is given back.
type meddler struct {
	*memory.Store
	mu     sync.Mutex
	change func(*state.Record)           // guarded by mu
	event  func(i int, ev []byte) []byte // guarded by mu
	plants map[state.Key]state.Record    // guarded by mu; there although they have ended
}

func (m *meddler) meddle(f func(*state.Record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change = f
}

func (m *meddler) meddleEvents(f func(int, []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event = f
}

func (m *meddler) changed(r state.Record) state.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.change != nil {
		r.Sealed = append([]byte(nil), r.Sealed...)
		m.change(&r)
	}
	return r
}

func (m *meddler) Get(ctx context.Context, key state.Key) (state.Record, error) {
	r, err := m.Store.Get(ctx, key)
	if err == nil {
		return m.changed(r), nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if planted, ok := m.plants[key]; ok {
		return planted, nil
	}
	return r, err
}

// plant puts a record back that has ended.
func (m *meddler) plant(r state.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plants == nil {
		m.plants = make(map[state.Key]state.Record)
	}
	m.plants[r.Key()] = r
}

func (m *meddler) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		for r, err := range m.Store.List(ctx, q) {
			if err == nil {
				r = m.changed(r)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (m *meddler) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		i := 0
		for ev, err := range m.Store.Read(ctx, key, stream, from) {
			m.mu.Lock()
			if m.event != nil {
				ev = m.event(i, ev)
			}
			m.mu.Unlock()
			if !yield(ev, err) {
				return
			}
			i++
		}
	}
}

// A rig is an encrypted store on a meddler.
type rig struct {
	*encrypted.Store
	inner *meddler
	ring  *keyring.Ring

	mu    sync.Mutex
	heard []encrypted.Refusal // guarded by mu
}

func newRig(t testing.TB, opts encrypted.Options) *rig {
	t.Helper()
	r := &rig{inner: &meddler{Store: memory.New(memory.Options{})}, ring: newRing(t)}
	opts.OnRefusal = func(_ context.Context, refusal encrypted.Refusal) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard = append(r.heard, refusal)
	}
	r.Store = wrap(t, r.inner, r.ring, opts)
	return r
}

// refusals returns what OnRefusal has heard since the last call.
func (r *rig) refusals() []encrypted.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	heard := r.heard
	r.heard = nil
	return heard
}

// stored returns the inner record as it is stored.
func (r *rig) stored(t testing.TB, key state.Key) state.Record {
	t.Helper()
	return get(t, r.inner.Store, key)
}
