package e2e

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/state"
	storeopen "github.com/coatcheck-mcp/coatcheck/store/open"
)

// A memory is where it can be seen what becomes of sessions.
type memory struct {
	// changes yields the sessions that change, until the context ends or
	// whoever is asked fails.
	changes func(ctx context.Context) iter.Seq[state.Ref]
	// get is a session as it is stored.
	get func(ctx context.Context, ref state.Ref) (state.Record, error)
}

// openMemory looks into a store.
func openMemory(t *testing.T, url string) memory {
	t.Helper()
	store, err := storeopen.Open(t.Context(), url, storeopen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return memory{
		changes: func(ctx context.Context) iter.Seq[state.Ref] {
			return func(yield func(state.Ref) bool) {
				changes, err := store.Watch(ctx, state.WatchOptions{Namespace: "default"})
				if err != nil {
					return
				}
				for c := range changes {
					if c.Kind == "session" && (c.Type == state.Updated || c.Type == state.Created) && !yield(c.Key.Ref) {
						return
					}
				}
			}
		},
		get: func(ctx context.Context, ref state.Ref) (state.Record, error) {
			return store.Get(ctx, state.Key{Namespace: "default", Ref: ref})
		},
	}
}

// askMemory asks a replica, for a store that no other process can open.
func askMemory(t *testing.T, s *server) memory {
	t.Helper()
	client, err := admin.NewClient(s.admin, admin.ClientOptions{Token: adminSecret})
	if err != nil {
		t.Fatal(err)
	}
	return memory{
		changes: func(ctx context.Context) iter.Seq[state.Ref] {
			return func(yield func(state.Ref) bool) {
				changes, err := client.Watch(ctx, admin.DefaultKind)
				if err != nil {
					return
				}
				for c, err := range changes {
					if err != nil || c.Ref != nil && !yield(*c.Ref) {
						return
					}
				}
			}
		},
		get: func(ctx context.Context, ref state.Ref) (r state.Record, err error) {
			d, err := client.Show(ctx, ref, false)
			r.Owner, r.Epoch, r.Version = d.Owner, d.Epoch, d.Version
			return r, err
		},
	}
}

// A chronicle is what was stored of sessions, as it was seen.
type chronicle struct {
	t    *testing.T
	stop func()
	done chan struct{}
	seen map[state.Ref][]state.Record
}

// record watches the sessions until it is judged.
func record(t *testing.T, m memory) *chronicle {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &chronicle{t: t, stop: cancel, done: make(chan struct{}), seen: map[state.Ref][]state.Record{}}
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			for ref := range m.changes(ctx) {
				if r, err := m.get(ctx, ref); err == nil {
					c.seen[ref] = append(c.seen[ref], r)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // whoever was asked is cut off
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-c.done
	})
	return c
}

// judge makes sure that no session had two owners in one epoch, and that no
// epoch came back.
func (c *chronicle) judge() {
	c.t.Helper()
	c.stop()
	<-c.done
	changes := 0
	for ref, records := range c.seen {
		owners := map[uint64]string{}
		var last state.Record
		for _, r := range records {
			if r.Revision < last.Revision || r.Epoch < last.Epoch || r.Version < last.Version {
				c.t.Errorf("session %s went back: revision %d, epoch %d, version %d after %d, %d, %d",
					ref, r.Revision, r.Epoch, r.Version, last.Revision, last.Epoch, last.Version)
			}
			if before, ok := owners[r.Epoch]; ok && before != r.Owner {
				c.t.Errorf("session %s had two owners in epoch %d: %s and %s", ref, r.Epoch, before, r.Owner)
			}
			owners[r.Epoch] = r.Owner
			last = r
		}
		changes += len(owners)
	}
	if len(c.seen) == 0 {
		c.t.Error("nothing was seen of any session")
	}
	c.t.Logf("%d sessions, in %d epochs", len(c.seen), changes)
}
