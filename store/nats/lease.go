package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// JetStream has no read index: a leader that is cut off answers reads until it
// notices, after 10 to 20 seconds, while others elect another and write; and one
// that was stopped answers some when it wakes. So an answer counts only while a
// lease of its stream holds.
//
// A lease begins when a write begins that the majority then acknowledges, and
// after which a leader that has it says which followers have heard of its
// leadership. If all have, nobody takes himself for the leader of an earlier
// term, and will never again: whoever answers has that write. So what is read is
// not older than the lease.
//
// A follower that has not been heard may be the leader of before, who was
// stopped and wakes: it looks no different. Until it is heard each read is
// confirmed by a write that changes nothing, which the majority takes only if
// what was read is still there.
//
// Of nats-server's raft.go was read: a follower that answers an entry has taken
// over its term (processAppendEntry), and keeps it through a restart; a leader
// that hears a higher one is none any more; the time of a follower's last answer
// is not changed by anything that a leader of an earlier term sends; and what a
// stream's leader answers from is committed.
const (
	// leaseTime bounds how old what is read may be.
	leaseTime = 2500 * time.Millisecond
	// leaseFresh is the age from which a lease is renewed while it still holds,
	// so that readers need not wait.
	leaseFresh = 1500 * time.Millisecond
)

// A lease is what the store knows of the leader of a stream.
type lease struct {
	mu      sync.Mutex // guards all below
	held    held
	since   time.Time       // when the leader of it was elected, by its own clock
	follow  map[string]bool // who has been heard to follow it
	renewal *renewal        // under way; nil: none
}

// What is held.
type held struct {
	from   time.Time // the begin of the write, with a monotonic reading; zero: never
	leader string
	alone  bool // nobody else can take himself for the leader of an earlier term
}

func (h held) valid() bool { return !h.from.IsZero() && time.Since(h.from) < leaseTime }

// A renewal is a write that all readers share who need one.
type renewal struct {
	done chan struct{} // closed when it is over
	err  error         // set before that
}

// read asks the leader of a stream, again until check takes the answer within a
// lease that held before the question.
func read[A interface{ leaderless() bool }](ctx context.Context, s *Store, stream int, what string, question any,
	check func(context.Context, held, A) error) (answer A, err error) {
	if s.leases == nil { // there is one replica, and so one leader
		return ask[A](ctx, s, what, question)
	}
	if h, r := s.lease(stream); r == nil && h.alone { // as it is nearly always
		a, err := ask[A](ctx, s, what, question)
		if err != nil || h.valid() {
			return a, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for {
		h, err := s.hold(ctx, stream)
		if err != nil {
			return answer, err
		}
		a, err := ask[A](ctx, s, what, question)
		if err != nil {
			return answer, err
		}
		if !h.alone {
			err = check(ctx, h, a)
		}
		switch {
		case err == nil && h.valid():
			return a, nil
		case err != nil && !errors.Is(err, errDoubtful):
			return answer, err
		case !pause(ctx, 5*time.Millisecond):
			return answer, unavailable("read", errors.Join(err, ctx.Err()))
		}
	}
}

// errDoubtful: an answer may be that of a former leader.
var errDoubtful = errors.New("it is not certain who leads")

// stands confirms that what was read under a subject is there. A stream without
// room takes no such write: it is believed, within the lease.
func (s *Store) stands(ctx context.Context, stream int, subject string, seq uint64) error {
	p := put{subject: s.ownSubject(stream), guard: subject, seq: seq, ttl: time.Minute}
	_, err := s.send(ctx, nuid.Next(), []put{p})
	switch {
	case err == nil || errors.Is(err, state.ErrFull):
		return nil
	case ctx.Err() != nil || s.conn.IsClosed():
		// What became of it is nobody's concern.
		return unavailable("read", errors.Join(fmt.Errorf("confirm: %v", err), ctx.Err()))
	}
	return errDoubtful
}

// hold returns a lease that holds. It is called within the gate.
func (s *Store) hold(ctx context.Context, stream int) (held, error) {
	for {
		h, r := s.lease(stream)
		if h.valid() {
			return h, nil
		}
		if r == nil {
			continue // it has just been renewed
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return held{}, unavailable("read", ctx.Err())
		}
		if r.err == nil {
			continue
		}
		if s.conn.IsClosed() || !pause(ctx, 20*time.Millisecond) {
			// Whether the renewal was written is nobody's concern.
			return held{}, unavailable("read", errors.Join(fmt.Errorf("no majority: %v", r.err), ctx.Err()))
		}
	}
}

// lease returns the last lease, and the renewal if one is under way, which it
// begins if that is due.
func (s *Store) lease(stream int) (held, *renewal) {
	l := &s.leases[stream]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewal == nil && (l.held.from.IsZero() || time.Since(l.held.from) >= leaseFresh) {
		r := &renewal{done: make(chan struct{})}
		l.renewal = r
		s.pumps.Go(func() { s.renew(stream, r) })
	}
	return l.held, l.renewal
}

// renew writes a message of the store's own, and asks who leads and who follows.
func (s *Store) renew(stream int, r *renewal) {
	ctx, cancel := context.WithTimeout(s.ctx, readWait)
	defer cancel()
	began := time.Now()
	seq, err := s.send(ctx, nuid.Next(), []put{{subject: s.ownSubject(stream), ttl: time.Minute}})
	if errors.Is(err, state.ErrFull) {
		err = s.removeNothing(ctx, stream)
	}
	var info *infoAnswer
	if err == nil {
		info, err = s.infoUnheld(ctx, stream)
	}
	l := &s.leases[stream]
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		err = l.learn(info, seq, began)
	}
	r.err, l.renewal = err, nil
	close(r.done)
}

// removeNothing is a write that a stream without room takes too.
func (s *Store) removeNothing(ctx context.Context, stream int) error {
	question := map[string]any{"filter": s.ownSubject(stream)}
	a, err := ask[doneAnswer](ctx, s, "STREAM.PURGE."+s.called(stream), question)
	if err == nil && !a.Success {
		err = errors.New("nothing could be removed")
	}
	return err
}

// learn begins a lease with what a leader says after a write with that sequence;
// mu is held.
func (l *lease) learn(info *infoAnswer, seq uint64, began time.Time) error {
	c := info.Cluster
	if info.State.LastSeq < seq || c == nil || c.Leader == "" || c.LeaderSince == nil {
		return errDoubtful // it does not have the write: somebody else leads
	}
	if l.held.leader != c.Leader || !l.since.Equal(*c.LeaderSince) {
		l.since, l.follow = *c.LeaderSince, make(map[string]bool)
	}
	for _, r := range c.Replicas {
		if followsSince(r, info.TimeStamp.Sub(l.since)) {
			l.follow[r.Name] = true
		}
	}
	following := 0
	for _, r := range c.Replicas {
		if l.follow[r.Name] {
			following++
		}
	}
	l.held = held{from: began, leader: c.Leader, alone: following >= info.Config.Replicas-1}
	return nil
}

// heardTime is how long ago a server may have been heard to count as such: a
// leader is answered each second.
const heardTime = 3 * time.Second

// followsSince reports whether a follower was heard since its leader was elected,
// so long ago. The second bound is for clocks that jump.
func followsSince(r *jetstream.PeerInfo, elected time.Duration) bool {
	return r.Active > 0 && r.Active < elected && r.Active < heardTime // zero: never
}

// ownSubject is of a message of the store's own, which nobody else writes.
func (s *Store) ownSubject(stream int) string {
	return s.streamName(stream) + ".clock." + nuid.Next()
}

// heard reports whether a leader has lately heard from a majority: else it may
// be cut off.
func (a *infoAnswer) heard() bool {
	need := a.Config.Replicas / 2
	if need == 0 {
		return true
	}
	if a.Cluster == nil {
		return false
	}
	for _, r := range a.Cluster.Replicas {
		if r.Active > 0 && r.Active < heardTime+time.Second {
			need--
		}
	}
	return need <= 0
}

// infoOfHeard asks the leader of a stream about it, again until it has heard
// from a majority. It is for what is asked all the time, and needs no lease.
func (s *Store) infoOfHeard(ctx context.Context, stream int) (*infoAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for {
		a, err := s.infoUnheld(ctx, stream)
		if err != nil || a.heard() {
			return a, err
		}
		if !pause(ctx, 20*time.Millisecond) {
			return nil, unavailable("ask", errors.Join(errors.New("the leader has heard from no majority"), ctx.Err()))
		}
	}
}
