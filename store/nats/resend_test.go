package nats_test

import (
	"bytes"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// A sieve is a network that loses one write, or the answer to it, when told to.
type sieve struct {
	writes  atomic.Bool // lose the next message that writes a record
	answers atomic.Bool // lose the next answer to a write
	lost    atomic.Int64
}

// Dial implements [natsgo.CustomDialer].
func (s *sieve) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &sieved{conn, s}, err
}

type sieved struct {
	net.Conn
	sieve *sieve
}

// recordWrite is how the message begins with which a write takes effect.
var recordWrite, writeAnswer = []byte("HPUB coatcheck-0.r."), []byte(`{"stream":"coatcheck-0"`)

func (c *sieved) Write(b []byte) (int, error) {
	if i := bytes.LastIndex(b, recordWrite); i >= 0 && c.sieve.writes.CompareAndSwap(true, false) {
		c.sieve.lost.Add(1)
		if _, err := c.Conn.Write(b[:i]); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *sieved) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !bytes.Contains(b[:n], writeAnswer) || !c.sieve.answers.CompareAndSwap(true, false) {
			return n, err
		}
		c.sieve.lost.Add(1)
	}
}

// A write that is lost, or whose answer is, as a server loses them that ends, is
// done once, and its caller is told so: single messages and batches alike.
func TestAWriteWithoutAnAnswerIsDoneOnce(t *testing.T) {
	server := natsserver.Start(t, "-sync=false")
	for name, lose := range map[string]func(*sieve) *atomic.Bool{
		"the write":  func(s *sieve) *atomic.Bool { return &s.writes },
		"its answer": func(s *sieve) *atomic.Bool { return &s.answers },
	} {
		t.Run(name, func(t *testing.T) {
			between := &sieve{}
			conn, err := natsgo.Connect(server.URL(), natsgo.SetCustomDialer(between))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			doneOnce(t, open(t, conn, nats.Options{Streams: 1, Timeout: 10 * time.Second}), open(t, connect(t, server.URL()), nats.Options{Streams: 1}),
				func() { lose(between).Store(true) })
			if got := between.lost.Load(); got != 3 {
				t.Errorf("%d messages were lost, want 3", got)
			}
		})
	}
}

func doneOnce(t *testing.T, s, other *nats.Store, lose func()) {
	t.Helper()
	key, second := create(t, s, "alice"), newKey(t, 7)
	changes, err := other.Watch(t.Context(), state.WatchOptions{Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []state.Op{
		state.UpdateOp{Key: key, Version: 1, Data: data(7), ID: newID()},
		creation(second, "alice"), // with the index of her sessions
		state.DeleteOp{Key: key, Reason: state.ReasonRevoked},
	} {
		lose()
		if _, err := state.Do(t.Context(), s, op); err != nil {
			t.Errorf("%T: %v", op, err)
		}
	}
	if r, err := other.Get(t.Context(), second); err != nil || r.Version != 1 || r.Revision != 1 {
		t.Errorf("the created record: version %d, revision %d, %v", r.Version, r.Revision, err)
	}
	var gone *state.NotFoundError
	if _, err := other.Get(t.Context(), key); !errors.As(err, &gone) || gone.End.Version != 2 {
		t.Errorf("the deleted record: %v", err)
	}
	told := map[state.ChangeType]int{}
	last := create(t, s, "bob")
	for timeout := time.After(patience); ; {
		select {
		case c := <-changes:
			if c.Key != last {
				told[c.Type]++
				continue
			}
		case <-timeout:
			t.Fatal("the watch is silent")
		}
		break
	}
	if told[state.Updated] != 1 || told[state.Created] != 1 || told[state.Deleted] != 1 {
		t.Errorf("of what was done once, %v was told", told)
	}
}

// A leader that was cut off hears writes before it hears that there is another.
// It refuses them at once, which is heard before the other has stored them.
func TestARefusalByAFormerLeaderIsNotBelieved(t *testing.T) {
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	former := connect(t, server.URL())
	s, other := open(t, conn, nats.Options{Streams: 1, Timeout: patience}), open(t, conn, nats.Options{Streams: 1})
	var armed atomic.Bool
	sub, err := former.Subscribe("coatcheck-0.r.>", func(m *natsgo.Msg) {
		if m.Reply != "" && armed.CompareAndSwap(true, false) {
			_ = m.Respond([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}`)) // whoever asked may be gone
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() }) // the connection ends with the test
	if err := former.Flush(); err != nil {
		t.Fatal(err)
	}
	doneOnce(t, s, other, func() { armed.Store(true) })
}
