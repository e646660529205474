package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// countOthers counts, for a creation with a limit in total, what lives in the
// other slots of a cluster. What is created there meanwhile is not counted: so
// the total is not exact.
func (s *Store) countOthers(ctx context.Context, st *step) error {
	r := st.op.(state.CreateOp).Record
	n, err := s.countElsewhere(ctx, r.Namespace, r.Kind, st.routing)
	st.call.args[othersArg] = strconv.Itoa(n)
	return err
}

// countElsewhere counts the live records of a kind in all tags but one. Their
// servers are asked by the time of this one's.
func (s *Store) countElsewhere(ctx context.Context, namespace, kind string, but byte) (int, error) {
	now, err := s.serverTime(ctx, namespace, but)
	if err != nil {
		return 0, err
	}
	cmds := make([]rueidis.Completed, 0, 255)
	for routing := range 256 {
		if byte(routing) != but {
			key := dueKey(s.tag(namespace, byte(routing)), kind)
			cmds = append(cmds, s.client.B().Zcount().Key(key).Min("("+unixMilli(now)).Max("+inf").Build())
		}
	}
	total := int64(0)
	for _, r := range s.client.DoMulti(ctx, cmds...) {
		n, err := r.AsInt64()
		if err != nil {
			return 0, readError(err) // nothing was written yet
		}
		total += n
	}
	return int(total), nil
}

// serverTime asks the server of a routing byte for its time.
func (s *Store) serverTime(ctx context.Context, namespace string, routing byte) (time.Time, error) {
	b := s.client.B()
	r := s.client.DoMulti(ctx, b.Exists().Key(kindsKey(s.tag(namespace, routing))).Build(), b.Time().Build())
	now, err := s.timeOf(r[1])
	return s.observe(routing, now.UnixMilli()), readError(err)
}
