package natsserver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
)

const patience = 60 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect connects to a server, until the test is over.
func connect(t *testing.T, url string) (*natsgo.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := natsgo.Connect(url, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(10*time.Millisecond), natsgo.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// eventually ends the test unless try returns nil in time.
func eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < patience; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err = try(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s: after %v still: %v", what, patience, err)
}

// makeStream makes the stream of these tests, when JetStream is ready.
func makeStream(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	eventually(t, "make a stream", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "x", Subjects: []string{"x"}, Replicas: replicas})
		return err
	})
}

// messages returns how many the stream has.
func messages(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	s, err := js.Stream(ctx, "x")
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Msgs, nil
}

func TestServerKeepsItsDataOverAKill(t *testing.T) {
	server := natsserver.Start(t)
	_, js := connect(t, server.URL())
	makeStream(t, js, 1)
	if _, err := js.Publish(t.Context(), "x", []byte("one")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Kill() // again does nothing
	server.Launch()
	eventually(t, "have what was written", func(ctx context.Context) error {
		n, err := messages(ctx, js)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d messages", n)
		}
		return err
	})
	server.Suspend()
	if _, err := js.Publish(within(t, 200*time.Millisecond), "x", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a suspended server: %v", err)
	}
	server.Resume()
	eventually(t, "go on", func(ctx context.Context) error {
		_, err := js.Publish(ctx, "x", []byte("two"))
		return err
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestServersAreOneCluster(t *testing.T) {
	servers := natsserver.StartCluster(t, 3)
	_, js := connect(t, servers[0].URL())
	makeStream(t, js, 3)
	_, other := connect(t, servers[2].URL())
	eventually(t, "write by another server", func(ctx context.Context) error {
		_, err := other.Publish(ctx, "x", []byte("one"))
		return err
	})
	servers[1].Kill()
	eventually(t, "write without one of three", func(ctx context.Context) error {
		_, err := js.Publish(ctx, "x", []byte("two"))
		return err
	})
	eventually(t, "read it elsewhere", func(ctx context.Context) error {
		n, err := messages(ctx, other)
		if err == nil && n < 2 {
			err = fmt.Errorf("%d messages", n)
		}
		return err
	})
}

// A server that is cut off has its clients, and nobody else.
func TestIsolatedServerReachesNoOther(t *testing.T) {
	mesh := natsserver.StartMesh(t, 3)
	leader := mesh.MetaLeader(t)
	near, _ := connect(t, leader.URL())
	var fars []*natsgo.Conn
	for _, s := range mesh.Servers {
		if s != leader {
			far, _ := connect(t, s.URL())
			fars = append(fars, far)
		}
	}
	answer := func(m *natsgo.Msg) { _ = m.Respond(nil) }
	for subject, conn := range map[string]*natsgo.Conn{"near": near, "far": fars[1]} {
		if _, err := conn.Subscribe(subject, answer); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(conn *natsgo.Conn, subject string) error {
		_, err := conn.Request(subject, nil, time.Second)
		return err
	}
	together := func(context.Context) error {
		return errors.Join(ask(fars[0], "near"), ask(near, "far"), ask(fars[0], "far"))
	}
	eventually(t, "reach all", together)
	mesh.Isolate(leader)
	eventually(t, "be apart", func(context.Context) error {
		if ask(fars[0], "near") == nil || ask(near, "far") == nil {
			return errors.New("it is reached")
		}
		return errors.Join(ask(near, "near"), ask(fars[0], "far"))
	})
	mesh.Mend()
	eventually(t, "reach all again", together)
}
