package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// replicated is the store of these tests: one stream on three servers.
func replicated() nats.Options {
	return nats.Options{Streams: 1, Replicas: 3, Timeout: 2 * time.Second}
}

// readers read a record through several stores, all the time.
type readers struct {
	wg    sync.WaitGroup
	stop  chan struct{}
	reads atomic.Int64

	mu    sync.Mutex  // guards seen
	begun []time.Time // of reads that showed the record
	other []error     // answers that neither showed it nor were unavailable nor not found
}

func startReaders(key state.Key, stores ...*nats.Store) *readers {
	r := &readers{stop: make(chan struct{})}
	for _, s := range stores {
		for range 2 {
			r.wg.Go(func() {
				for !isClosed(r.stop) {
					r.read(s, key)
				}
			})
		}
	}
	return r
}

func (r *readers) read(s *nats.Store, key state.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	_, err := s.Get(ctx, key)
	r.reads.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.begun = append(r.begun, began)
	case !errors.Is(err, state.ErrNotFound) && !errors.Is(err, state.ErrUnavailable):
		r.other = append(r.other, err)
	}
}

// after ends the readers and returns how many reads that began after a moment
// showed the record, and when the last one did.
func (r *readers) after(t *testing.T, from time.Time) (n int, last time.Duration) {
	t.Helper()
	close(r.stop)
	r.wg.Wait()
	for _, err := range r.other {
		t.Errorf("a read: %v", err)
	}
	for _, b := range r.begun {
		if b.After(from) {
			n, last = n+1, max(last, b.Sub(from))
		}
	}
	return n, last
}

// deleted deletes a record, when there is a leader who can.
func deleted(t *testing.T, s *nats.Store, key state.Key) {
	t.Helper()
	eventually(t, "delete", func() error {
		_, err := state.Do(within(t, time.Second), s, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
		return err
	})
}

// rawGet asks for what stands under a subject, without a store, and reports
// whether something does.
func rawGet(conn *natsgo.Conn, subject string) (bool, error) {
	q, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return false, err
	}
	m, err := conn.Request("$JS.API.STREAM.MSG.GET.coatcheck-0", q, time.Second)
	if err != nil {
		return false, err
	}
	var answer struct {
		Message *struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err = json.Unmarshal(m.Data, &answer)
	return answer.Message != nil && len(answer.Message.Data) > 0 && answer.Message.Data[0] == 'r', err
}

// leadAll makes the stream, and the leader of the cluster its leader.
func leadAll(t *testing.T, mesh *natsserver.Mesh) *natsserver.Server {
	t.Helper()
	conn := connect(t, urls(mesh.Servers))
	s := open(t, conn, replicated())
	var leader *natsserver.Server
	eventually(t, "lead", func() error {
		leader = mesh.MetaLeader(t)
		if leaderOf(t, s, mesh.Servers) == leader {
			return nil
		}
		q := fmt.Sprintf(`{"placement":{"preferred":%q}}`, leader.Name())
		m, err := conn.Request("$JS.API.STREAM.LEADER.STEPDOWN.coatcheck-0", []byte(q), time.Second)
		if err != nil {
			return err
		}
		return fmt.Errorf("asked to: %s", m.Data)
	})
	return leader
}

// created creates a record, when there is a leader.
func created(t *testing.T, s *nats.Store, user string) state.Key {
	t.Helper()
	var key state.Key
	eventually(t, "create", func() error {
		key = newKey(t, 7)
		return s.Apply(within(t, 5*time.Second), creation(key, user))[0].Err
	})
	return key
}

// others returns the servers but one.
func others(servers []*natsserver.Server, but *natsserver.Server) (all []*natsserver.Server) {
	for _, s := range servers {
		if s != but {
			all = append(all, s)
		}
	}
	return all
}

// A leader that is cut off from the others does not know for 10 seconds and more
// that they have another, and goes on to answer its clients. They do not take it.
func TestLeaderThatIsCutOffIsNotBelieved(t *testing.T) {
	t.Parallel()
	mesh := natsserver.StartMesh(t, 3, "-sync=false")
	leader := leadAll(t, mesh)
	near, far := connect(t, leader.URL()), connect(t, others(mesh.Servers, leader)[0].URL())
	s, other := open(t, near, replicated()), open(t, far, replicated())
	key, kept := created(t, s, "alice"), created(t, s, "bob")
	subject := "coatcheck-0.r.test.*." + key.Ref.String()

	r := startReaders(key, s)
	mesh.Isolate(leader)
	deleted(t, other, key)
	gone := time.Now()
	var believed, refused int
	for start := time.Now(); time.Since(start) < patience && believed+refused < 3; {
		there, err := rawGet(near, subject)
		if err != nil || !there {
			break // it has noticed
		}
		switch _, err := s.Get(within(t, time.Second), key); {
		case err == nil:
			believed++
		case errors.Is(err, state.ErrUnavailable):
			refused++
		default:
			t.Errorf("Get: %v", err)
		}
	}
	if refused == 0 {
		t.Error("the leader that was cut off did not answer: nothing was tested")
	}
	for rec, err := range s.List(within(t, time.Second), state.Query{Namespace: "test"}) {
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("List: %v, %v", rec.Ref, err)
		}
	}
	if _, _, err := s.Tail(within(t, time.Second), key, "x"); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Tail: %v", err)
	}
	// What a read alone decides in a write is not decided either.
	if _, err := state.Do(within(t, time.Second), s, creation(kept, "bob")); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("Create of what is there: %v", err)
	}
	if n, last := r.after(t, gone); n != 0 {
		t.Errorf("%d of %d reads showed a record that was deleted, until %v after", n, r.reads.Load(), last)
	}
	mesh.Mend()
	eventually(t, "see that it is gone", func() error {
		if _, err := s.Get(within(t, time.Second), key); !errors.Is(err, state.ErrNotFound) {
			return fmt.Errorf("Get: %w", err)
		}
		return nil
	})
}

// A leader that was stopped answers when it wakes, before it hears that there is
// another. It is not believed.
func TestLeaderThatWakesIsNotBelieved(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3, "-sync=false")
	var stores []*nats.Store
	for _, server := range servers {
		stores = append(stores, open(t, connect(t, server.URL()), replicated()))
	}
	key := created(t, stores[0], "alice")
	leader := leaderOf(t, stores[0], servers)
	leader.Suspend()
	for i, server := range servers {
		if server != leader {
			deleted(t, stores[i], key)
			break
		}
	}
	gone := time.Now()
	r := startReaders(key, stores...)
	before := r.reads.Load()
	await(t, "reads", &r.reads, before+100)
	leader.Resume()
	eventually(t, "the leader follows", func() error {
		all, err := stores[0].Members(within(t, time.Second))
		if err != nil {
			return err
		}
		for _, m := range all[0].Members {
			if m.Name == leader.Name() && m.Current {
				return nil
			}
		}
		return errors.New("not yet")
	})
	await(t, "reads when all is settled", &r.reads, r.reads.Load()+300)
	if n, last := r.after(t, gone); n != 0 {
		t.Errorf("%d of %d reads showed a record that was deleted, until %v after", n, r.reads.Load(), last)
	}
}

// Without a majority nothing is read once the lease is over.
func TestLeaderWithoutFollowersIsNotBelieved(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3, "-sync=false")
	s := open(t, connect(t, urls(servers)), replicated())
	leader := leaderOf(t, s, servers)
	alone := open(t, connect(t, leader.URL()), replicated())
	key := created(t, alone, "alice")
	r := startReaders(key, alone)
	for _, f := range others(servers, leader) {
		f.Suspend()
	}
	stopped := time.Now()
	eventually(t, "refuse", func() error {
		_, err := alone.Get(within(t, time.Second), key)
		if errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome) {
			return nil
		}
		return fmt.Errorf("Get: %w", err)
	})
	if d := time.Since(stopped); d > nats.LeaseTime+2*time.Second {
		t.Logf("refused %v after the followers stopped", d)
	}
	if there, err := rawGet(connect(t, leader.URL()), "coatcheck-0.r.test.*."+key.Ref.String()); err != nil || !there {
		t.Logf("the leader has given up: %v", err)
	}
	if n, last := r.after(t, stopped.Add(nats.LeaseTime)); n != 0 {
		t.Errorf("%d reads were answered after the lease, until %v after", n, last)
	}
	for _, f := range others(servers, leader) {
		f.Resume()
	}
	eventually(t, "read again", func() error {
		_, err := alone.Get(within(t, time.Second), key)
		return err
	})
}

// A stream without room takes no writes. What it has can be read.
func TestStreamWithoutRoomIsRead(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3, "-sync=false")
	conn := connect(t, urls(servers))
	s := open(t, conn, replicated())
	key := created(t, s, "alice")
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t, patience), "coatcheck-0")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 1
	if _, err := js.UpdateStream(within(t, patience), config); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	eventually(t, "outlast the lease", func() error {
		if _, err := s.Get(within(t, patience), key); err != nil {
			t.Errorf("Get: %v", err)
		}
		if d := time.Since(from); d < 2*nats.LeaseTime {
			return fmt.Errorf("%v so far", d)
		}
		return nil
	})
	if err := s.Apply(within(t, 5*time.Second), state.TouchOp{Key: key, Idle: time.Hour})[0].Err; !errors.Is(err, state.ErrFull) {
		t.Errorf("a write after that: %v", err)
	}
}
