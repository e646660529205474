package encrypted_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// A laggard answers the first few Gets with the state from before the last
// write, as a store with stale reads may.
type laggard struct {
	*memory.Store
	mu    sync.Mutex
	old   map[state.Key]state.Record // guarded by mu
	stale int                        // guarded by mu; how many Gets are still answered so
}

func (l *laggard) Guarantees() state.Guarantees {
	g := l.Store.Guarantees()
	g.Staleness = time.Minute
	return g
}

func (l *laggard) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range ops {
		if r, err := l.Store.Get(ctx, op.Target()); err == nil {
			l.old[op.Target()] = r
		}
	}
	return l.Store.Apply(ctx, ops...)
}

func (l *laggard) Get(ctx context.Context, key state.Key) (state.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.old[key]; ok && l.stale > 0 {
		l.stale--
		return r, nil
	}
	return l.Store.Get(ctx, key)
}

func (l *laggard) lag(gets int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = gets
}

// An Update on a store whose reads lag is not taken for a conflict, and a stale
// answer is not taken for a rollback.
func TestStaleReadsAreNeitherConflictsNorRollbacks(t *testing.T) {
	inner := &laggard{Store: memory.New(memory.Options{}), old: map[state.Key]state.Record{}}
	s := wrap(t, inner, newRing(t), encrypted.Options{})
	op := creation(t, "alice")
	key := op.Target()
	do(t, s, op)
	data := func(v string) map[string]json.RawMessage { return map[string]json.RawMessage{"v": json.RawMessage(v)} }
	do(t, s, state.UpdateOp{Key: key, Version: 1, Data: data(`1`)})
	inner.lag(3)
	do(t, s, state.UpdateOp{Key: key, Version: 2, Data: data(`2`)})
	inner.lag(1)
	if got := get(t, s, key); got.Version != 2 {
		t.Errorf("the store did not lag: version %d", got.Version)
	}
	if got := get(t, s, key); got.Version != 3 || string(got.Data["v"]) != `2` {
		t.Errorf("got %+v", got)
	}
	_, err := state.Do(t.Context(), s, state.UpdateOp{Key: key, Version: 2, Data: data(`3`)})
	var conflict *state.ConflictError
	if !errors.As(err, &conflict) || conflict.Have != 3 {
		t.Errorf("a true conflict: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	inner.lag(1000)
	if _, err := state.Do(ctx, s, state.UpdateOp{Key: key, Version: 3}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// An Update that is refused because of a stale answer says what is true now.
func TestRefusedUpdateOfWhatHasEndedIsNotFound(t *testing.T) {
	inner := &laggard{Store: memory.New(memory.Options{}), old: map[state.Key]state.Record{}}
	s := wrap(t, inner, newRing(t), encrypted.Options{})
	refused := func(key state.Key, epoch uint64) error {
		inner.lag(1)
		_, err := state.Do(t.Context(), s, state.UpdateOp{Key: key, Version: 1, Epoch: epoch, Data: map[string]json.RawMessage{}})
		return err
	}
	made := func() state.Key {
		op := creation(t, "alice")
		do(t, s, op)
		do(t, s, state.UpdateOp{Key: op.Target(), Version: 1, Data: map[string]json.RawMessage{}})
		return op.Target()
	}

	ended := made()
	do(t, s, state.DeleteOp{Key: ended, Reason: state.ReasonLogout})
	var gone *state.NotFoundError
	if err := refused(ended, 0); !errors.As(err, &gone) || gone.End == nil || gone.End.User != "alice" {
		t.Errorf("after the end that the read did not show: %v", err)
	}

	owned := made()
	do(t, s, state.SetOwnerOp{Key: owned, Owner: "a"})
	do(t, s, state.SetOwnerOp{Key: owned, Epoch: 1, Owner: "b"})
	var fenced *state.FencedError
	if err := refused(owned, 1); !errors.As(err, &fenced) || fenced.Want != 1 || fenced.Have != 2 || fenced.Owner != "b" {
		t.Errorf("with an epoch that has passed: %v", err)
	}
	var conflict *state.ConflictError
	if err := refused(owned, 0); !errors.As(err, &conflict) || conflict.Have != 2 {
		t.Errorf("a true conflict: %v", err)
	}
	if r := get(t, s, owned); r.Version != 2 || r.Epoch != 2 {
		t.Errorf("what was refused left version %d and epoch %d", r.Version, r.Epoch)
	}
}
