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
// that.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := state.CheckQuery(state.Query{Namespace: opts.Namespace, Kind: opts.Kind}); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var ends []state.End
	p := plan{s: s, opts: opts, records: opts.Limit(), tombs: opts.Limit()}
	for {
		if err := p.make(ctx); err != nil {
			return sweptSoFar(ends, err)
		}
		if len(p.calls) == 0 {
			return ends, nil
		}
		swept, err := s.sweepTags(ctx, opts.Namespace, p.calls)
		ends = append(ends, swept...)
		if err != nil {
			return sweptSoFar(ends, err)
		}
		p.records = opts.Limit() - len(ends)
		// Of what was due all has been taken, by this sweep or by another.
		if !p.more || ctx.Err() != nil {
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

// A plan is what a Sweep does next.
type plan struct {
	s              *Store
	opts           state.SweepOptions
	records, tombs int // how many may still be ended, and forgotten

	calls []*call
	more  bool // there is more to do, and it may be done
}

// make asks what is due and shares it out.
func (p *plan) make(ctx context.Context) error {
	asks := make([]*call, 256)
	for routing := range asks {
		tag := p.s.tag(p.opts.Namespace, byte(routing))
		asks[routing] = &call{
			script: p.s.scripts.due,
			keys:   []string{kindsKey(tag), tombsKey(tag)},
			args:   []string{p.s.floor(byte(routing)), p.opts.Kind, tag},
		}
	}
	p.calls, p.more = nil, false
	records := p.records
	for routing, r := range p.s.run(ctx, asks) {
		due, err := r.AsIntSlice()
		if err != nil || len(due) != 2 {
			return readError(err)
		}
		end, forget := min(int(due[0]), records, sweepAtOnce), min(int(due[1]), p.tombs, sweepAtOnce)
		records -= end
		p.tombs -= forget
		p.more = p.more || end < int(due[0]) && records > 0 || forget < int(due[1]) && p.tombs > 0
		if end+forget > 0 {
			p.calls = append(p.calls, p.call(byte(routing), end, forget))
		}
	}
	return nil
}

func (p *plan) call(routing byte, end, forget int) *call {
	tag := p.s.tag(p.opts.Namespace, routing)
	return &call{
		script: p.s.scripts.sweep,
		keys:   []string{kindsKey(tag), sequenceKey(tag), orderKey(tag), tombsKey(tag)},
		args: []string{
			p.s.floor(routing), string([]byte{routing}), p.s.channel(p.opts.Namespace), p.opts.Kind,
			strconv.Itoa(end), tag, strconv.Itoa(forget),
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
