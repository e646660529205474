package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Errors of the server, by their numbers.
const (
	codeNoPeers    = 10005
	codeNoMessage  = 10037
	codeNoStream   = 10059
	codeWrongLast  = 10071
	codeWrongLast2 = 10164 // also: another write of the subject is in flight
	codeIncomplete = 10176 // the server had not taken the begin of the batch
	codeInFlight   = 10210 // it has too many batches
	codeResources  = 10023
	codeAccount    = 10002
	codeStorage    = 10047
	codeStoreFull  = 10077
)

// readWait bounds one attempt at a read: while there is no leader nobody
// answers.
const readWait = time.Second

// errConflict: a condition of a write did not hold; nothing was written.
var errConflict = errors.New("a write was in the way")

// A message is what stands under a subject; seq is zero if nothing does.
type message struct {
	seq  uint64
	time time.Time
	data []byte
}

type getAnswer struct {
	Message *struct {
		Seq  uint64    `json:"seq"`
		Data []byte    `json:"data"`
		Time time.Time `json:"time"`
	} `json:"message"`
	Error *jetstream.APIError `json:"error"`
}

// get asks the leader of a stream for the last message of a subject.
func (s *Store) get(ctx context.Context, stream int, subject string) (message, error) {
	var a getAnswer
	err := s.ask(ctx, "STREAM.MSG.GET."+s.called(stream), map[string]any{"last_by_subj": subject}, &a)
	switch {
	case err != nil:
		return message{}, err
	case a.Error != nil && a.Error.ErrorCode == codeNoMessage:
		return message{}, nil
	case a.Error != nil && a.Error.ErrorCode == codeNoStream:
		return message{}, unavailable("read", errors.Join(a.Error, s.moved(ctx, stream)))
	case a.Error != nil:
		return message{}, unavailable("read", a.Error)
	case a.Message == nil:
		return message{}, fmt.Errorf("read from nats: %w: an answer without a message", state.ErrCorrupt)
	}
	s.clock.observe(a.Message.Time)
	return message{seq: a.Message.Seq, time: a.Message.Time, data: a.Message.Data}, nil
}

type infoAnswer struct {
	jetstream.StreamInfo
	Error *jetstream.APIError `json:"error"`
	Total int                 `json:"total"`
}

// info asks the leader of a stream about it, and which subjects it has under a
// filter, if that is not empty, after the first so many.
func (s *Store) info(ctx context.Context, stream int, filter string, offset int) (*infoAnswer, error) {
	question := map[string]any{}
	if filter != "" {
		question["subjects_filter"], question["offset"] = filter, offset
	}
	var a infoAnswer
	if err := s.ask(ctx, "STREAM.INFO."+s.called(stream), question, &a); err != nil {
		return nil, err
	}
	if a.Error != nil && a.Error.ErrorCode == codeNoStream {
		return nil, unavailable("ask", errors.Join(a.Error, s.moved(ctx, stream)))
	}
	if a.Error != nil {
		return nil, unavailable("ask", a.Error)
	}
	return &a, nil
}

// ask makes a request that changes nothing, again until there is an answer.
func (s *Store) ask(ctx context.Context, what string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	q, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("ask nats: %w", err)
	}
	for {
		try, done := context.WithTimeout(ctx, readWait)
		m, err := s.conn.RequestWithContext(try, "$JS.API."+what, q)
		done()
		if err == nil {
			if err := json.Unmarshal(m.Data, answer); err != nil {
				return fmt.Errorf("read from nats: %w: %w", state.ErrCorrupt, err)
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, natsgo.ErrConnectionClosed) || !pause(ctx, 20*time.Millisecond) {
			return unavailable("read", errors.Join(err, ctx.Err()))
		}
	}
}

func unavailable(what string, err error) error {
	return fmt.Errorf("%s nats: %w: %w", what, state.ErrUnavailable, err)
}

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

func (p *put) message() *natsgo.Msg {
	m := natsgo.NewMsg(p.subject)
	m.Data = p.data
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

// send writes all messages or none, and returns the sequence of the last one. It
// returns errConflict if a condition did not hold, else what the contract has.
func (s *Store) send(ctx context.Context, stream int, puts ...put) (uint64, error) {
	if len(puts) == 1 {
		return s.publish(ctx, puts[0].message())
	}
	select {
	case s.batches[stream] <- struct{}{}:
		defer func() { <-s.batches[stream] }()
	case <-ctx.Done():
		return 0, unavailable("write to", ctx.Err())
	}
	id := nuid.Next()
	for i := range puts {
		m := puts[i].message()
		m.Header["Nats-Batch-Id"] = []string{id}
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
	Sequence uint64              `json:"seq"`
	Error    *jetstream.APIError `json:"error"`
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
	answer, err := s.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, natsgo.ErrNoResponders), errors.Is(err, natsgo.ErrReconnectBufExceeded),
		errors.Is(err, natsgo.ErrConnectionClosed), errors.Is(err, natsgo.ErrMaxPayload):
		return 0, unavailable("write to", err) // no stream has it
	case err != nil:
		return 0, fmt.Errorf("write to nats: %w: %w", state.ErrUnknownOutcome, err)
	}
	var a pubAnswer
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return 0, fmt.Errorf("write to nats: %w: %w", state.ErrUnknownOutcome, err)
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
	return 0, fmt.Errorf("write to nats: %w: %w", state.ErrUnknownOutcome, a.Error)
}

// retry calls fn until it meets no conflict, with a random pause between.
func (s *Store) retry(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for longest := 2 * time.Millisecond; ; longest = min(2*longest, 100*time.Millisecond) {
		err := fn(ctx)
		if !errors.Is(err, errConflict) {
			return err
		}
		if !pause(ctx, rand.N(longest)) {
			return unavailable("write to", errors.Join(ctx.Err(), err))
		}
	}
}
