package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sweepAtOnce bounds what one script sweeps, so that no server is kept from
// others for long.
const sweepAtOnce = 128

// Sweep implements [state.Store]. It asks all tags how much is due, and ends
// that. Tombstones need no sweep: they have a time to live.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := state.CheckQuery(state.Query{Namespace: opts.Namespace, Kind: opts.Kind}); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var ends []state.End
	for {
		calls, more, err := s.plan(ctx, opts, opts.Limit()-len(ends))
		if err != nil {
			return sweptSoFar(ends, err)
		}
		if len(calls) == 0 {
			return ends, nil
		}
		swept, err := s.sweepTags(ctx, opts.Namespace, calls)
		ends = append(ends, swept...)
		if err != nil {
			return sweptSoFar(ends, err)
		}
		// All that was due has been taken, by this sweep or by another.
		if !more || len(ends) >= opts.Limit() || ctx.Err() != nil {
			return ends, nil
		}
	}
}

// sweptSoFar returns ends in spite of an error: what has ended is said once or
// never.
func sweptSoFar(ends []state.End, err error) ([]state.End, error) {
	if len(ends) > 0 {
		return ends, nil
	}
	return nil, err
}

// plan returns calls that end at most n records together, and whether more
// than they take is due.
func (s *Store) plan(ctx context.Context, opts state.SweepOptions, n int) (calls []*call, more bool, err error) {
	asks := make([]*call, 256)
	for routing := range asks {
		tag := s.tag(opts.Namespace, byte(routing))
		asks[routing] = &call{
			script: s.scripts.due,
			keys:   []string{kindsKey(tag)},
			args:   []string{s.floor(byte(routing)), opts.Kind, tag},
		}
	}
	for routing, r := range s.run(ctx, asks) {
		due, err := r.AsInt64()
		if err != nil {
			return nil, false, readError(err)
		}
		take := min(int(due), n, sweepAtOnce)
		more = more || take < int(due)
		if take > 0 {
			n -= take
			calls = append(calls, s.sweepCall(opts, byte(routing), take))
		}
	}
	return calls, more, nil
}

func (s *Store) sweepCall(opts state.SweepOptions, routing byte, n int) *call {
	tag := s.tag(opts.Namespace, routing)
	return &call{
		script: s.scripts.sweep,
		keys:   []string{kindsKey(tag), sequenceKey(tag), orderKey(tag)},
		args: []string{
			s.floor(routing), string([]byte{routing}), s.channel(opts.Namespace), opts.Kind, strconv.Itoa(n), tag,
		},
	}
}

// sweepTags makes the calls of a plan.
func (s *Store) sweepTags(ctx context.Context, namespace string, calls []*call) (ends []state.End, err error) {
	for i, answer := range s.run(ctx, calls) {
		swept, e := s.readSwept(namespace, calls[i].args[1][0], answer)
		ends = append(ends, swept...)
		if e != nil {
			err = e
		}
	}
	return ends, err
}

func (s *Store) readSwept(namespace string, routing byte, answer rueidis.RedisResult) ([]state.End, error) {
	b, err := answer.AsBytes()
	if err != nil {
		return nil, writeError(err)
	}
	r, err := s.parseReply(routing, b)
	if err != nil {
		return nil, err
	}
	return parseEnds(namespace, routing, r.body)
}
