package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"
)

// A call is one script with its arguments, for one tag.
type call struct {
	script *script
	keys   []string
	args   []string
}

// floor is the first argument of every script.
func (s *Store) floor(routing byte) string {
	if s.opts.clock != nil {
		s.observe(routing, s.opts.clock().UnixMilli())
	}
	return strconv.FormatInt(s.seen[routing].Load(), 10)
}

func (c *call) byHash(b rueidis.Builder) rueidis.Completed {
	return b.Evalsha().Sha1(c.script.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

func (c *call) whole(b rueidis.Builder) rueidis.Completed {
	return b.Eval().Script(c.script.source).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// run sends calls in one round trip and returns the answers in their order.
// Calls to one ref must not be in one run: a server that has forgotten a
// script answers one of them later.
func (s *Store) run(ctx context.Context, calls []*call) []rueidis.RedisResult {
	if len(calls) == 1 {
		r := s.client.Do(ctx, calls[0].byHash(s.client.B()))
		if forgotten(r) {
			r = s.client.Do(ctx, calls[0].whole(s.client.B()))
		}
		return []rueidis.RedisResult{r}
	}
	send := func(cmds []rueidis.Completed) []rueidis.RedisResult { return s.client.DoMulti(ctx, cmds...) }
	return s.runBy(calls, send)
}

// runBy does the same with a function that sends commands.
func (s *Store) runBy(calls []*call, send func([]rueidis.Completed) []rueidis.RedisResult) []rueidis.RedisResult {
	cmds := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		cmds[i] = c.byHash(s.client.B())
	}
	results := send(cmds)
	var again []int
	cmds = nil
	for i := range calls {
		if forgotten(results[i]) {
			again = append(again, i)
			cmds = append(cmds, calls[i].whole(s.client.B()))
		}
	}
	if len(again) == 0 {
		return results
	}
	for i, r := range send(cmds)[:len(again)] {
		results[again[i]] = r
	}
	return results
}

// forgotten reports whether the server does not know a script, and so has not
// run it.
func forgotten(r rueidis.RedisResult) bool {
	re, ok := rueidis.IsRedisErr(r.Error())
	return ok && re.IsNoScript()
}
