package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// A vault keeps numbers in the records of a store, to see which of them are
// lost.
type vault struct{ store *nats.Store }

const vaultStreams = nats.DefaultStreams

func openVault(ctx context.Context, s *Server) (*vault, error) {
	store, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return &vault{store: store}, nil
}

// vaultOf is one that is closed with the test.
func vaultOf(t *testing.T, s *Server) *vault {
	t.Helper()
	v, err := openVault(t.Context(), s)
	if err != nil {
		t.Fatalf("open the store on node %s: %v", s.Name(), err)
	}
	t.Cleanup(func() {
		if err := v.store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return v
}

const field = "n"

// recordOf is the record of a key; one after the other is in another stream.
func recordOf(key, n int) state.Record {
	ref, err := state.RefFromBytes(append([]byte{byte(key)}, strconv.AppendInt([]byte("key-"), int64(1e11)+int64(key), 10)[:16]...))
	if err != nil {
		panic(err) // the length is wrong
	}
	return state.Record{Namespace: "default", Kind: "session", Ref: ref, Data: dataOf(n)}
}

func dataOf(n int) map[string]json.RawMessage {
	return map[string]json.RawMessage{field: json.RawMessage(strconv.Itoa(n))}
}

// put returns without an error when the number is acknowledged.
func (v *vault) put(ctx context.Context, key, n int) error {
	ctx, cancel := context.WithTimeout(ctx, electionWait)
	defer cancel()
	record := recordOf(key, n)
	found, err := v.store.Get(ctx, record.Key())
	if errors.Is(err, state.ErrNotFound) {
		_, err = state.Do(ctx, v.store, state.CreateOp{Record: record, Idle: time.Hour, Lifetime: time.Hour})
		return err
	}
	if err != nil {
		return err
	}
	_, err = state.Do(ctx, v.store, state.UpdateOp{Key: record.Key(), Version: found.Version, Data: record.Data})
	return err
}

// get returns the number that is there, 0 if none.
func (v *vault) get(ctx context.Context, key int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	record := recordOf(key, 0)
	found, err := v.store.Get(ctx, record.Key())
	if errors.Is(err, state.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(found.Data[field]))
}

// getLong gets until there is an answer.
func (v *vault) getLong(ctx context.Context, key int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := v.get(ctx, key)
		if err == nil || ctx.Err() != nil {
			return n, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A load puts ever larger numbers under its keys.
type load struct {
	stopping chan struct{}
	all      sync.WaitGroup

	mu     sync.Mutex
	acked  map[int]int
	failed []error
}

// startLoad has each of the keys from..to-1 written by a goroutine of its own.
// said hears of each number that was acknowledged.
func startLoad(ctx context.Context, v *vault, from, to int, said func(key, n int)) *load {
	l := &load{stopping: make(chan struct{}), acked: map[int]int{}}
	for key := from; key < to; key++ {
		l.all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-l.stopping:
					return
				case <-time.After(time.Millisecond):
				}
				// One that failed may be stored, and a later one replaces it.
				if err := v.put(ctx, key, n); err != nil {
					l.fail(err)
					continue
				}
				l.note(key, n)
				said(key, n)
			}
		})
	}
	return l
}

func (l *load) note(key, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = n
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

// least is the number that the slowest key has come to.
func (l *load) least(keys int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acked) < keys {
		return 0
	}
	least := int(^uint(0) >> 1)
	for _, n := range l.acked {
		least = min(least, n)
	}
	return least
}

// stop returns what was acknowledged last.
func (l *load) stop() map[int]int {
	close(l.stopping)
	l.all.Wait()
	return l.acked
}
