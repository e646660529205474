package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// writeHeader has the id of the write that a message came with.
const writeHeader = "Coatcheck-Write"

// writeTries is how many attempts at a write find room in the time of an
// operation. A leader that ends while it has one says nothing of it, though
// another may store it; one that is busy answers late, and that is known best.
const writeTries = 4

var (
	// errConflict: a condition of a write did not hold; nothing was written, as
	// far as whoever says so knows.
	errConflict = errors.New("a write was in the way")
	// errSilent: there was no answer to a write.
	errSilent = errors.New("no answer")
)

// A put is a message to be written if the last one of its subject has the
// sequence seq, zero for none.
type put struct {
	subject string
	seq     uint64
	guard   string // the subject of which seq is; empty: subject
	ttl     time.Duration
	change  string
	data    []byte
}

func (p *put) message(id string) *natsgo.Msg {
	m := natsgo.NewMsg(p.subject)
	m.Data = p.data
	m.Header[writeHeader] = []string{id}
	m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(p.seq, 10)}
	if p.guard != "" {
		m.Header["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{p.guard}
	}
	if p.ttl > 0 {
		// Whole seconds, which the server counts: rounded up.
		m.Header["Nats-TTL"] = []string{strconv.FormatInt(int64((p.ttl+time.Second-1)/time.Second), 10) + "s"}
	}
	if p.change != "" {
		m.Header[changeHeader] = []string{p.change}
	}
	return m
}

// putAll writes all messages or none, and returns the sequence of the last one.
// It returns errConflict if a condition did not hold, else what the contract has.
func (s *Store) putAll(ctx context.Context, stream int, puts ...put) (uint64, error) {
	if len(puts) > 1 {
		select {
		case s.batches[stream] <- struct{}{}:
			defer func() { <-s.batches[stream] }()
		case <-ctx.Done():
			return 0, unavailable("write to", ctx.Err())
		}
	}
	id := nuid.Next()
	seq, err := s.send(ctx, id, puts)
	if errors.Is(err, errSilent) || errors.Is(err, errConflict) {
		return s.findOut(ctx, stream, id, puts, err)
	}
	return seq, err
}

// findOut finds out what became of a write that was refused or not answered. A
// refusal alone says little: a leader that was cut off refuses at once what its
// successor is about to store. Unless what stands there explains it the write is
// sent again: its conditions let only one through, and the id tells whether it
// was one of them.
func (s *Store) findOut(ctx context.Context, stream int, id string, puts []put, why error) (uint64, error) {
	lost := why // of the first that was not answered, if any was not
	for longest := 2 * time.Millisecond; ; longest = min(2*longest, 100*time.Millisecond) {
		found, err := s.inspect(ctx, stream, id, puts)
		switch {
		case err != nil:
			return 0, unknown(errors.Join(lost, err))
		case found.written:
			return found.seq, nil
		case found.changed && errors.Is(lost, errSilent): // perhaps after it had been written
			return 0, unknown(lost)
		case found.changed:
			return 0, errConflict
		case !pause(ctx, rand.N(longest)):
			return 0, unknown(errors.Join(lost, ctx.Err()))
		}
		seq, err := s.send(ctx, id, puts)
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, errSilent):
			lost = err
		case !errors.Is(err, errConflict) && !errors.Is(err, natsgo.ErrNoResponders):
			return 0, unknown(errors.Join(lost, err))
		}
	}
}

// A finding is what stands in the places of a write.
type finding struct {
	written bool // it does, as seq
	seq     uint64
	changed bool // something else than what it was to replace
}

// inspect compares what stands there with the conditions of a write.
func (s *Store) inspect(ctx context.Context, stream int, id string, puts []put) (f finding, err error) {
	for _, p := range slices.Backward(puts) {
		subject := cmp.Or(p.guard, p.subject)
		m, err := s.get(ctx, stream, subject)
		switch {
		case err != nil:
			return f, err
		case m.writtenBy(id):
			return finding{written: true, seq: m.seq}, nil
		// What is older than what was read before is known to a former leader.
		case m.seq > p.seq || m.seq == 0 && p.seq != 0:
			f.changed = true
		}
	}
	return f, nil
}

// writtenBy reports whether the message is of the write with that id.
func (m *message) writtenBy(id string) bool {
	if len(m.header) == 0 {
		return false
	}
	h, err := natsgo.DecodeHeadersMsg(m.header)
	return err == nil && h.Get(writeHeader) == id
}

func unknown(err error) error {
	return fmt.Errorf("write to nats: %w: %w", state.ErrUnknownOutcome, err)
}

// send makes one attempt at a write.
func (s *Store) send(ctx context.Context, id string, puts []put) (uint64, error) {
	if len(puts) == 1 {
		return s.publish(ctx, puts[0].message(id))
	}
	batch := nuid.Next()
	for i := range puts {
		m := puts[i].message(id)
		m.Header["Nats-Batch-Id"] = []string{batch}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i == len(puts)-1 {
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			return s.publish(ctx, m)
		}
		if err := ctx.Err(); err != nil {
			return 0, unavailable("write to", err) // what began is dropped
		}
		if err := s.conn.PublishMsg(m); err != nil {
			return 0, unavailable("write to", err)
		}
	}
	return 0, nil
}

type pubAnswer struct {
	Sequence uint64 `json:"seq"`
	failure
}

// publish sends the message with which a write takes effect, and waits for the
// answer.
func (s *Store) publish(ctx context.Context, m *natsgo.Msg) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable("write to", err)
	}
	if !s.conn.IsConnected() {
		return 0, unavailable("write to", natsgo.ErrDisconnected)
	}
	try, done := context.WithTimeout(ctx, s.opts.Timeout/writeTries)
	defer done()
	answer, err := s.conn.RequestMsgWithContext(try, m)
	switch {
	case errors.Is(err, natsgo.ErrNoResponders), errors.Is(err, natsgo.ErrReconnectBufExceeded),
		errors.Is(err, natsgo.ErrConnectionClosed), errors.Is(err, natsgo.ErrMaxPayload):
		return 0, unavailable("write to", err) // no stream has it
	case err != nil && ctx.Err() == nil:
		return 0, unknown(fmt.Errorf("%w: %w", errSilent, err))
	case err != nil:
		return 0, unknown(err)
	}
	var a pubAnswer
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return 0, unknown(err)
	}
	if a.Error == nil {
		return a.Sequence, nil
	}
	switch a.Error.ErrorCode {
	case codeWrongLast, codeWrongLast2, codeIncomplete, codeInFlight:
		return 0, errConflict
	case codeResources, codeAccount, codeStorage, codeStoreFull:
		return 0, fmt.Errorf("write to nats: %w: %w", state.ErrFull, a.Error)
	}
	return 0, unknown(a.Error)
}

// retry calls fn until it meets no conflict, and a leader, with a random pause
// between.
func (s *Store) retry(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for longest := 2 * time.Millisecond; ; longest = min(2*longest, 100*time.Millisecond) {
		err := fn(ctx)
		// Where there are no responders, nobody has got it.
		if !errors.Is(err, errConflict) && !errors.Is(err, natsgo.ErrNoResponders) {
			return err
		}
		if !pause(ctx, rand.N(longest)) {
			return unavailable("write to", errors.Join(ctx.Err(), err))
		}
	}
}
