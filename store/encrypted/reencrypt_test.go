package encrypted_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
)

// rotated returns a store with n records of a key that is retired.
func rotated(t testing.TB, n int) (r *rig, keys []state.Key, old string) {
	t.Helper()
	r = newRig(t, encrypted.Options{})
	for i := range n {
		op := creation(t, fmt.Sprintf("user-%d", i%7))
		op.ID = state.OpID{1, byte(i)}
		do(t, r, op)
		keys = append(keys, op.Target())
	}
	old = r.ring.Active().ID()
	if _, err := r.ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, keys, old
}

func TestReencryptChangesNothingButTheKey(t *testing.T) {
	ctx := t.Context()
	r, keys, old := rotated(t, 300)
	fresh := creation(t, "alice")
	do(t, r, fresh)
	before := map[state.Key]state.Record{}
	for _, key := range keys {
		before[key] = get(t, r, key)
	}
	var heard []encrypted.Progress
	p, err := r.Reencrypt(ctx, encrypted.ReencryptOptions{
		Namespace: namespace, OnProgress: func(p encrypted.Progress) { heard = append(heard, p) },
	})
	if err != nil || p.Rewritten != 300 || p.Seen != 301 || p.Refused != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	if len(heard) < 4 || heard[len(heard)-1] != p {
		t.Errorf("heard of %d steps, the last %+v", len(heard), heard[len(heard)-1])
	}
	if err := r.ring.Revoke(ctx, old); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		got, want := get(t, r, key), before[key]
		if got.Version != want.Version+1 {
			t.Fatalf("version %d, want %d", got.Version, want.Version+1)
		}
		got.Version, got.Revision, got.Remaining = want.Version, want.Revision, want.Remaining
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
	if again, err := r.Reencrypt(ctx, encrypted.ReencryptOptions{Namespace: namespace}); err != nil || again.Rewritten != 0 {
		t.Errorf("a second run: %+v, %v", again, err)
	}
}

func TestReencryptCanBeInterruptedAndResumed(t *testing.T) {
	r, keys, _ := rotated(t, 200)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := r.Reencrypt(ctx, encrypted.ReencryptOptions{
		Namespace: namespace, Batch: 16, Pause: time.Nanosecond,
		OnProgress: func(p encrypted.Progress) {
			if p.Seen >= 64 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || p.Rewritten != 64 || p.After.IsZero() {
		t.Fatalf("interrupted: %+v, %v", p, err)
	}
	rest, err := r.Reencrypt(t.Context(), encrypted.ReencryptOptions{Namespace: namespace, After: p.After})
	if err != nil || rest.Rewritten != len(keys)-64 || rest.Seen != len(keys)-64 {
		t.Fatalf("resumed: %+v, %v", rest, err)
	}
	for _, key := range keys {
		if v := get(t, r, key).Version; v != 2 {
			t.Fatalf("version %d, want 2: written once", v)
		}
	}
}

// Writers go on meanwhile, and none of their updates is lost.
func TestReencryptLosesNoUpdate(t *testing.T) {
	ctx := t.Context()
	r, keys, old := rotated(t, 40)
	const each = 25
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range each {
				for k := w; k < len(keys); k += 4 {
					if err := increment(ctx, r, keys[k]); err != nil {
						t.Errorf("update %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	stop := make(chan struct{})
	var runs sync.WaitGroup
	runs.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := r.Reencrypt(ctx, encrypted.ReencryptOptions{Namespace: namespace, Batch: 8}); err != nil && !errors.Is(err, state.ErrConflict) {
				t.Error(err)
				return
			}
			if _, err := r.ring.Rotate(ctx); err != nil { // so that there is work
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	close(stop)
	runs.Wait()
	if _, err := r.Reencrypt(ctx, encrypted.ReencryptOptions{Namespace: namespace}); err != nil {
		t.Fatal(err)
	}
	if err := r.ring.Revoke(ctx, old); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if got := string(get(t, r, key).Data["n"]); got != fmt.Sprint(each) {
			t.Errorf("counted to %s, want %d", got, each)
		}
	}
}

// increment adds one to a record's count, as often as it takes.
func increment(ctx context.Context, s state.Store, key state.Key) error {
	for {
		rec, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		n := 0
		if v := rec.Data["n"]; v != nil {
			if err := json.Unmarshal(v, &n); err != nil {
				return err
			}
		}
		data := map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(n + 1))}
		_, err = state.Do(ctx, s, state.UpdateOp{Key: key, Version: rec.Version, Data: data})
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
}

func TestReencryptPassesOverWhatItCannotOpen(t *testing.T) {
	r, keys, _ := rotated(t, 30)
	bad := map[state.Ref]bool{keys[3].Ref: true, keys[17].Ref: true}
	r.inner.meddle(func(rec *state.Record) {
		if bad[rec.Ref] {
			rec.Sealed[60] ^= 1
		}
	})
	p, err := r.Reencrypt(t.Context(), encrypted.ReencryptOptions{Namespace: namespace, Batch: 5})
	if err != nil || p.Rewritten != 28 || p.Refused != 2 || p.Seen != 30 {
		t.Errorf("%+v, %v", p, err)
	}
	if n := len(r.refusals()); n != 2 {
		t.Errorf("OnRefusal heard of %d", n)
	}
}

func TestReencryptDoesTheSystemsOwnByName(t *testing.T) {
	r, _, _ := rotated(t, 1)
	for range 3 {
		op := creation(t, "")
		op.Record.Kind = "_node"
		do(t, r, op)
	}
	if _, err := r.ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"": 1, "_node": 3, "absent": 0} {
		p, err := r.Reencrypt(t.Context(), encrypted.ReencryptOptions{Namespace: namespace, Kind: kind})
		if err != nil || p.Rewritten != want {
			t.Errorf("kind %q: %+v, %v", kind, p, err)
		}
	}
}
