package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

func TestKillAndRestartLosesNothingThatWasSynced(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{})
	l := history.StartLoad(t, s, 4)
	for round := range 2 {
		await(t, "writes", &l.Done, int64(40*(round+1)))
		server.Kill()
		server.Launch()
	}
	before := l.Done.Load()
	await(t, "writes after the restarts", &l.Done, before+40)
	l.Finish()
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
	l := history.StartLoad(t, open(t, connect(t, server.URL()), nats.Options{Timeout: patience}), 2)
	await(t, "writes after the pause", &l.Done, 20)
	l.Finish()
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
