package nats_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// A load is writers that update, create and delete until they are stopped, and
// what they know for certain.
type load struct {
	t    testing.TB
	s    state.Store
	stop chan struct{}
	wg   sync.WaitGroup
	done atomic.Int64 // acknowledged writes
	lost atomic.Int64 // writes with an unknown outcome
	out  atomic.Int64 // writes that were not made
	ws   []*writer
}

// A writer owns its records, so it knows what each must be.
type writer struct {
	key     state.Key
	version uint64 // acknowledged
	open    map[state.OpID]uint64
	deleted []state.Key
	doubt   map[state.Key]bool // deletes with an unknown outcome
}

func startLoad(t testing.TB, s state.Store, writers int) *load {
	t.Helper()
	l := &load{t: t, s: s, stop: make(chan struct{})}
	for i := range writers {
		w := &writer{key: newKey(t, byte(i*37)), version: 1, open: map[state.OpID]uint64{}, doubt: map[state.Key]bool{}}
		do(t, s, creation(w.key, "owner"))
		l.ws = append(l.ws, w)
		l.wg.Go(func() { l.write(w) })
	}
	return l
}

func (l *load) write(w *writer) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		l.update(w, n)
		if n%4 == 0 {
			l.createAndDelete(w)
		}
	}
}

// apply makes a write with a deadline and sorts its error.
func (l *load) apply(op state.Op) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := state.Do(ctx, l.s, op)
	switch {
	case err == nil:
		l.done.Add(1)
	case errors.Is(err, state.ErrUnknownOutcome):
		l.lost.Add(1)
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		l.out.Add(1)
	case errors.Is(err, state.ErrNotFound):
		l.t.Errorf("%T: %v; an outage looks like a record that is not there", op, err)
	}
	return err
}

func (l *load) update(w *writer, n int) {
	id := newID()
	err := l.apply(state.UpdateOp{Key: w.key, Version: w.version, Data: data(n), ID: id})
	switch {
	case err == nil:
		w.version++
	case errors.Is(err, state.ErrUnknownOutcome):
		l.resolve(w, id)
	case errors.Is(err, state.ErrConflict) && len(w.open) > 0:
		// One that was not there when it was looked for was still on its way.
		r, err := l.s.Get(context.Background(), w.key)
		if _, mine := w.open[r.LastOp]; err != nil || !mine || r.Version != w.version+1 {
			l.t.Errorf("a conflict with somebody else's version %d: %v", r.Version, err)
		}
		w.version = r.Version
	case errors.Is(err, state.ErrConflict):
		l.t.Errorf("update of version %d, which nobody else writes: %v", w.version, err)
	}
}

// resolve finds out what became of an update, as the Manager does: by LastOp.
func (l *load) resolve(w *writer, id state.OpID) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		r, err := l.s.Get(ctx, w.key)
		cancel()
		switch {
		case err == nil && r.LastOp == id && r.Version == w.version+1:
			w.version++
			return
		case err == nil && r.Version == w.version:
			// Not there, but it may still be on its way: then the next
			// update will meet it.
			w.open[id] = w.version
			return
		case err == nil:
			l.t.Errorf("after an update of version %d with unknown outcome: version %d", w.version, r.Version)
			return
		case errors.Is(err, state.ErrNotFound):
			l.t.Errorf("a record is gone: %v", err)
			return
		}
		select {
		case <-l.stop:
			w.open[id] = w.version
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l *load) createAndDelete(w *writer) {
	key := newKey(l.t, w.key.Ref.Routing())
	if l.apply(creation(key, "guest")) != nil {
		return
	}
	switch err := l.apply(state.DeleteOp{Key: key, Reason: state.ReasonRevoked}); {
	case err == nil:
		w.deleted = append(w.deleted, key)
	default:
		w.doubt[key] = true
	}
}

// finish stops the writers and checks that nothing acknowledged was lost.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, w := range l.ws {
		eventually(l.t, "read what was written", func() error {
			r, err := l.s.Get(within(l.t, time.Second), w.key)
			if err != nil {
				return err
			}
			_, maybe := w.open[r.LastOp]
			if r.Version != w.version && !(maybe && r.Version == w.version+1) {
				l.t.Errorf("version %d was acknowledged, but %d is there", w.version, r.Version)
			}
			return nil
		})
		for _, key := range w.deleted {
			if _, err := l.s.Get(within(l.t, 5*time.Second), key); !errors.Is(err, state.ErrNotFound) {
				l.t.Errorf("a deleted record: %v", err)
			}
		}
	}
	l.t.Logf("%d writes acknowledged, %d unknown, %d not made", l.done.Load(), l.lost.Load(), l.out.Load())
}

func TestKillAndRestartLosesNothingThatWasSynced(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{})
	l := startLoad(t, s, 4)
	for round := range 2 {
		await(t, "writes", &l.done, int64(40*(round+1)))
		server.Kill()
		server.Launch()
	}
	before := l.done.Load()
	await(t, "writes after the restarts", &l.done, before+40)
	l.finish()
}

func TestPausedServerIsAnOutageAndPasses(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{Timeout: 2 * time.Second})
	key := create(t, s, "alice")
	server.Suspend()
	if _, err := s.Get(within(t, 300*time.Millisecond), key); !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a deadline: %v", err)
	}
	err := s.Apply(within(t, 300*time.Millisecond), state.TouchOp{Key: key, Idle: time.Hour})[0].Err
	if !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Touch with a deadline: %v", err)
	}
	// Without a deadline the store's own bound counts.
	if _, err := s.Get(context.Background(), key); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Get without a deadline: %v", err)
	}
	server.Resume()
	eventually(t, "go on", func() error {
		_, err := s.Get(within(t, time.Second), key)
		return err
	})
	// However busy the disk is.
	l := startLoad(t, open(t, connect(t, server.URL()), nats.Options{Timeout: patience}), 2)
	await(t, "writes after the pause", &l.done, 20)
	l.finish()
}

func TestServerThatIsGoneIsUnavailable(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{})
	key := create(t, s, "alice")
	server.Kill()
	// Once the end of the connection has been noticed nothing is sent any more.
	eventually(t, "say unavailable", func() error {
		err := s.Apply(within(t, time.Second), creation(newKey(t, 1), "bob"))[0].Err
		if errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome) {
			return nil
		}
		return err
	})
	if _, err := s.Get(within(t, time.Second), key); !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	for _, err := range s.List(within(t, time.Second), state.Query{Namespace: "test"}) {
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("List: %v", err)
		}
	}
	if _, err := s.Sweep(within(t, time.Second), state.SweepOptions{Namespace: "test"}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Sweep: %v", err)
	}
	if _, err := s.Watch(within(t, time.Second), state.WatchOptions{Namespace: "test"}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Watch: %v", err)
	}
}
