package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// The two tests of the session management guide, under their names.

func TestSessionLifecycle(t *testing.T) {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()

	s, err := manager.Create(ctx, session.CreateRequest{User: "user123"})
	if err != nil {
		t.Fatal(err)
	}
	if s.User != "user123" {
		t.Errorf("user %q", s.User)
	}
	retrieved, err := manager.Get(ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !retrieved.ID.Equal(s.ID) {
		t.Error("another id")
	}
	if err := manager.Set(ctx, s.ID, "key", "value"); err != nil {
		t.Fatal(err)
	}
	retrieved, err = manager.Get(ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	var value string
	if found, err := retrieved.Get("key", &value); !found || err != nil || value != "value" {
		t.Errorf("value %q, %v, %v", value, found, err)
	}
	extended, err := manager.Extend(ctx, s.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if left := extended.Remaining; left > time.Hour || left < 59*time.Minute {
		t.Errorf("extended to %v", left)
	}
	if err := manager.Delete(ctx, s.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := manager.Get(ctx, s.ID); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSessionExpiry(t *testing.T) {
	policy := session.Policy{AbsoluteLifetime: 100 * time.Millisecond}

	t.Run("injected clock", func(t *testing.T) {
		b := newBench(t, policy)
		id := b.create("user123").ID
		b.clock.Advance(99 * time.Millisecond)
		b.get(id)
		b.clock.Advance(time.Millisecond)
		if _, err := b.Get(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after its lifetime: %v", err)
		}
	})

	t.Run("real time", func(t *testing.T) {
		store := memory.New(memory.Options{})
		defer store.Close()
		manager, err := session.NewManager(store, session.Options{Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		s, err := manager.Create(t.Context(), session.CreateRequest{User: "user123"})
		if err != nil {
			t.Fatal(err)
		}
		for {
			_, err := manager.Get(t.Context(), s.ID)
			age := time.Since(before)
			if errors.Is(err, session.ErrNotFound) {
				// Times are kept to the millisecond.
				if age < 99*time.Millisecond {
					t.Errorf("expired after %v", age)
				}
				return
			}
			if err != nil || age > 30*time.Second {
				t.Fatalf("after %v: %v", age, err)
			}
			time.Sleep(time.Millisecond)
		}
	})
}
