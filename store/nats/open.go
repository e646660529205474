package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// minPayload is the least max_payload of a server: the largest record fits.
const minPayload = 1 << 20

// streamsKey is the metadata of a stream that says how many there are.
const streamsKey = "coatcheck_streams"

// Open opens a store on a connection of the caller's, who closes it after the
// store. It makes the streams where there are none. It waits for JetStream to
// be ready until the context is done, or for a minute.
//
// The connection should not buffer while it is reconnecting
// (ReconnectBufSize(-1)): what it sends late has an unknown outcome.
func Open(ctx context.Context, conn *natsgo.Conn, opts Options) (*Store, error) {
	opts = opts.defaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if conn.MaxPayload() < minPayload {
		return nil, invalid("server", "its max_payload is below 1 MiB, which the largest records need")
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open nats store: %w", err)
	}
	s := newStore(conn, js, opts)
	if err := s.makeStreams(ctx); err != nil {
		return nil, err
	}
	if err := s.keepMirrors(ctx); err != nil {
		return nil, err
	}
	if s.opts.Replicas > 1 {
		s.leases = make([]lease, s.opts.Streams)
	}
	if err := s.clock.start(ctx, s); err != nil {
		return nil, err
	}
	s.declare()
	return s, nil
}

// declare fixes the guarantees, by the streams as they are.
func (s *Store) declare() {
	s.guarantees = state.Guarantees{
		ClockError: s.opts.ClockError, Durability: s.opts.Durability, Shared: true,
		Replication: state.ReplicateNone,
	}
	if s.opts.Replicas > 1 {
		s.guarantees.Replication, s.guarantees.Staleness = state.ReplicateQuorum, leaseTime
	}
	if l := s.opts.Level; l == state.ReplicateAll || l == state.ReplicateLeader {
		s.guarantees.Replication = l
	}
	if s.opts.Replicas > 2 || s.opts.Level == state.ReplicateAll {
		s.guarantees.Durability = state.Replicated
	}
}

func (s *Store) config(i, replicas int) jetstream.StreamConfig {
	name := s.streamName(i)
	return jetstream.StreamConfig{
		Name:               name,
		Subjects:           []string{name + ".>"},
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		MaxMsgsPerSubject:  1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		Discard:            jetstream.DiscardNew,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
		// Reads are by the leader. Direct ones ask any replica, which may be
		// behind.
		AllowDirect: false,
		RePublish:   &jetstream.RePublish{Source: name + ".>", Destination: s.opts.Name + "-changes." + name + ".>", HeadersOnly: true},
		Metadata:    map[string]string{streamsKey: fmt.Sprint(s.opts.Streams)},
	}
}

// makeStreams makes or finds the streams. A server may answer before its
// JetStream does, so failures are retried.
func (s *Store) makeStreams(ctx context.Context) error {
	for i := range s.opts.Streams {
		for {
			err := s.makeStream(ctx, i)
			if err == nil {
				break
			}
			if errors.Is(err, state.ErrInvalid) {
				return err
			}
			if !pause(ctx, 100*time.Millisecond) {
				return fmt.Errorf("open nats store at %s: %w: %w", s.conn.ConnectedAddr(), state.ErrUnavailable, err)
			}
		}
	}
	if l := s.opts.Level; (l == state.ReplicateQuorum || l == state.ReplicateAll) && s.opts.Replicas < 2 {
		return invalid("replication", fmt.Sprintf("%s needs streams with two replicas or more, and these have one", l))
	}
	return nil
}

func (s *Store) makeStream(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	name, err := s.resolve(ctx, i)
	if err == nil {
		stream, err := s.js.Stream(ctx, name)
		if err != nil {
			return err
		}
		return s.adopt(stream.CachedInfo().Config)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	if err := s.notLost(ctx, i); err != nil {
		return err
	}
	var stream jetstream.Stream
	for _, n := range s.tries() {
		stream, err = s.js.CreateStream(ctx, s.config(i, n))
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeNoPeers {
			break
		}
	}
	if err != nil {
		return err
	}
	return s.adopt(stream.CachedInfo().Config)
}

// tries are the numbers of replicas to try for a new stream.
func (s *Store) tries() []int {
	switch {
	case s.opts.Replicas != 0:
		return []int{s.opts.Replicas}
	case s.conn.ConnectedClusterName() == "":
		return []int{1}
	case s.opts.Level == state.ReplicateAll:
		return []int{5, 4, 3, 2}
	}
	return []int{3, 1}
}

// adopt compares a stream with what is wanted.
func (s *Store) adopt(have jetstream.StreamConfig) error {
	want := s.config(0, 1)
	switch {
	case have.Metadata[streamsKey] != want.Metadata[streamsKey]:
		return invalid("streams", fmt.Sprintf("the store %s has %s streams, not %d: say so", s.opts.Name, have.Metadata[streamsKey], s.opts.Streams))
	case !have.AllowMsgTTL || !have.AllowAtomicPublish || have.AllowDirect || have.RePublish == nil || have.MaxMsgsPerSubject != 1:
		return invalid("name", fmt.Sprintf("the stream %s is not one of this store's", have.Name))
	case s.opts.Replicas != 0 && s.opts.Replicas != have.Replicas:
		return invalid("replicas", fmt.Sprintf("the streams have %d, not %d: leave replicas out, and change them with SetReplicas", have.Replicas, s.opts.Replicas))
	}
	s.opts.Replicas = have.Replicas
	return nil
}

// pause waits, and reports whether the context still is.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
