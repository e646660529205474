package sqlite

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestCancelledWhileWaitingWritesNothing(t *testing.T) {
	s := openTest(t, "", Options{})
	key := create(t, s, "x")
	release := holdWriter(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var result state.Result
	var wg sync.WaitGroup
	wg.Go(func() { result = s.Apply(ctx, state.DeleteOp{Key: key, Reason: state.ReasonLogout})[0] })
	eventually(t, "the operation waits", func() bool { return len(s.writer.queue) == 1 })
	cancel()
	wg.Wait() // though the writer is still held
	if !errors.Is(result.Err, context.Canceled) || errors.Is(result.Err, state.ErrUnknownOutcome) {
		t.Errorf("cancelled while waiting: %v, want only context.Canceled", result.Err)
	}
	release()
	create(t, s, "after it")
	get(t, s, key)
}

func TestCancelledAfterItWasBegunReturnsTheTrueResult(t *testing.T) {
	s := openTest(t, "", Options{})
	begun, let := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		err = s.writeJob(ctx, func(*tx) error {
			close(begun)
			<-let
			return nil
		})
	})
	<-begun
	cancel()
	close(let)
	wg.Wait()
	if err != nil {
		t.Errorf("cancelled after it was begun: %v, want its result", err)
	}
}

func TestCancelledWhileTheDiskHangsIsUnknown(t *testing.T) {
	hangs, let := make(chan struct{}), make(chan struct{})
	var hang atomic.Bool
	v := &testVFS{sync: func(string) error {
		if hang.Swap(false) {
			close(hangs)
			<-let
		}
		return nil
	}}
	s := openTest(t, "", Options{VFS: v.register(t), patience: time.Millisecond})
	op := createOp(newKey(t), "x")
	hang.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	var result state.Result
	var wg sync.WaitGroup
	wg.Go(func() { result = s.Apply(ctx, op)[0] })
	<-hangs
	cancel()
	wg.Wait() // though the disk still hangs
	if !errors.Is(result.Err, state.ErrUnknownOutcome) || !errors.Is(result.Err, context.Canceled) {
		t.Errorf("cancelled while the disk hangs: %v, want ErrUnknownOutcome and context.Canceled", result.Err)
	}
	clear(op.Record.Data) // it is the caller's again
	close(let)
	eventually(t, "the write arrives", func() bool {
		r, err := s.Get(t.Context(), op.Record.Key())
		return err == nil && len(r.Data) == 1
	})
}

func TestFullQueueMakesCallersWaitUntilTheyGiveUp(t *testing.T) {
	s := openTest(t, "", Options{})
	release := holdWriter(t, s)
	var wg sync.WaitGroup
	for range maxQueue {
		op := createOp(newKey(t), "x")
		wg.Go(func() {
			if r := s.Apply(t.Context(), op)[0]; r.Err != nil {
				t.Error(r.Err)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return len(s.writer.queue) == maxQueue })
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	key := newKey(t)
	if r := s.Apply(late, createOp(key, "x"))[0]; !errors.Is(r.Err, context.DeadlineExceeded) {
		t.Errorf("caller behind a full queue: %v, want DeadlineExceeded", r.Err)
	}
	release()
	wg.Wait()
	do(t, s, createOp(key, "x")) // it was not created
}

func TestLargeApplyKeepsOrderAndResults(t *testing.T) {
	s := openTest(t, "", Options{})
	key := newKey(t)
	ops := []state.Op{createOp(key, "x")}
	for v := uint64(1); v < 3*maxTask; v++ {
		ops = append(ops, state.UpdateOp{Key: key, Version: v, Data: valueData("y")})
	}
	ops = append(ops, state.UpdateOp{Key: key, Version: 1, Data: valueData("stale")}, nil)
	results := s.Apply(t.Context(), ops...)
	for i, r := range results[:len(ops)-2] {
		if r.Err != nil || r.Stamp.Version != uint64(i+1) {
			t.Fatalf("operation %d: version %d, %v", i, r.Stamp.Version, r.Err)
		}
	}
	if err := results[len(ops)-2].Err; !errors.Is(err, state.ErrConflict) {
		t.Errorf("stale update: %v, want ErrConflict", err)
	}
	if err := results[len(ops)-1].Err; !errors.Is(err, state.ErrInvalid) {
		t.Errorf("nil operation: %v, want ErrInvalid", err)
	}
}

func TestLockOfAnotherProcessIsAnOutage(t *testing.T) {
	s := openTest(t, "", Options{BusyTimeout: 20 * time.Millisecond})
	key := create(t, s, "x")
	c, err := s.connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	for _, op := range []state.Op{
		state.TouchOp{Key: key, Idle: time.Hour},
		state.DeleteOp{Key: newKey(t), Reason: state.ReasonLogout},
	} {
		_, err = state.Do(t.Context(), s, op)
		if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrNotFound) {
			t.Errorf("%T while another process holds the lock: %v, want ErrUnavailable", op, err)
		}
	}
	get(t, s, key) // readers are not affected
	if err := c.db.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
}

func TestConcurrentCallersShareCommits(t *testing.T) {
	s := openTest(t, "", Options{})
	ops := make([]state.Op, 64)
	for i := range ops {
		ops[i] = createOp(newKey(t), "x")
	}
	before := commits(t, s)
	for i, r := range applyTogether(t, s, ops...) {
		if r.Err != nil {
			t.Errorf("operation %d: %v", i, r.Err)
		}
	}
	if n := commits(t, s) - before; n > 2 {
		t.Errorf("64 callers that waited together took %d commits", n)
	}
}

// commits returns SQLite's own count.
func commits(t *testing.T, s *Store) uint32 {
	t.Helper()
	m, ok := s.cache.witness.glance()
	if !ok {
		t.Skip("the count of commits cannot be read on this system")
	}
	return m.commits()
}
