package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Errors of the server, by their numbers.
const (
	codeNoPeers    = 10005
	codeNoLeader   = 10008 // of the stream, or of the cluster
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

var errNoLeader = errors.New("the stream has no leader")

// A message is what stands under a subject; seq is zero if nothing does.
type message struct {
	seq    uint64
	time   time.Time
	header []byte
	data   []byte
}

type getAnswer struct {
	Message *struct {
		Seq    uint64    `json:"seq"`
		Header []byte    `json:"hdrs"`
		Data   []byte    `json:"data"`
		Time   time.Time `json:"time"`
	} `json:"message"`
	failure
}

// A failure is what the server has against a request.
type failure struct {
	Error *jetstream.APIError `json:"error"`
}

func (f failure) leaderless() bool { return f.Error != nil && f.Error.ErrorCode == codeNoLeader }

// get asks the leader of a stream for the last message of a subject.
func (s *Store) get(ctx context.Context, stream int, subject string) (message, error) {
	stands := func(ctx context.Context, _ held, a getAnswer) error {
		switch {
		case a.Message != nil:
			return s.stands(ctx, stream, subject, a.Message.Seq)
		case a.Error != nil && a.Error.ErrorCode == codeNoMessage:
			return s.stands(ctx, stream, subject, 0)
		}
		return nil
	}
	a, err := read(ctx, s, stream, "STREAM.MSG.GET."+s.called(stream), map[string]any{"last_by_subj": subject}, stands)
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
	return message{seq: a.Message.Seq, time: a.Message.Time, header: a.Message.Header, data: a.Message.Data}, nil
}

type doneAnswer struct {
	Success bool `json:"success"`
	failure
}

type infoAnswer struct {
	jetstream.StreamInfo
	failure
	Total int `json:"total"`
}

// info asks the leader of a stream about it, and which subjects it has under a
// filter, if that is not empty, after the first so many.
func (s *Store) info(ctx context.Context, stream int, filter string, offset int) (*infoAnswer, error) {
	question := map[string]any{}
	if filter != "" {
		question["subjects_filter"], question["offset"] = filter, offset
	}
	known := func(_ context.Context, h held, a infoAnswer) error {
		if a.Error == nil && (a.Cluster == nil || a.Cluster.Leader != h.leader) {
			return errDoubtful
		}
		return nil
	}
	a, err := read(ctx, s, stream, "STREAM.INFO."+s.called(stream), question, known)
	return s.checkInfo(ctx, stream, &a, err)
}

// infoUnheld asks whoever takes itself for the leader.
func (s *Store) infoUnheld(ctx context.Context, stream int) (*infoAnswer, error) {
	a, err := ask[infoAnswer](ctx, s, "STREAM.INFO."+s.called(stream), map[string]any{})
	return s.checkInfo(ctx, stream, &a, err)
}

func (s *Store) checkInfo(ctx context.Context, stream int, a *infoAnswer, err error) (*infoAnswer, error) {
	switch {
	case err != nil:
		return nil, err
	case a.Error != nil && a.Error.ErrorCode == codeNoStream:
		return nil, unavailable("ask", errors.Join(a.Error, s.moved(ctx, stream)))
	case a.Error != nil:
		return nil, unavailable("ask", a.Error)
	}
	return a, nil
}

// ask makes a request that changes nothing, or nothing more when it is made
// again, until there is an answer: one that there is no leader is none.
func ask[A interface{ leaderless() bool }](ctx context.Context, s *Store, what string, question any) (answer A, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	q, err := json.Marshal(question)
	if err != nil {
		return answer, fmt.Errorf("ask nats: %w", err)
	}
	for {
		try, done := context.WithTimeout(ctx, readWait)
		m, err := s.conn.RequestWithContext(try, "$JS.API."+what, q)
		done()
		if err == nil {
			var a A
			if err := json.Unmarshal(m.Data, &a); err != nil {
				return answer, fmt.Errorf("read from nats: %w: %w", state.ErrCorrupt, err)
			}
			if !a.leaderless() {
				return a, nil
			}
			err = errNoLeader
		}
		if ctx.Err() != nil || errors.Is(err, natsgo.ErrConnectionClosed) || !pause(ctx, 20*time.Millisecond) {
			return answer, unavailable("read", errors.Join(err, ctx.Err()))
		}
	}
}

func unavailable(what string, err error) error {
	return fmt.Errorf("%s nats: %w: %w", what, state.ErrUnavailable, err)
}
