package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Get implements [state.Store]. The record and the server's time come in one
// round trip.
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return state.Record{}, err
	}
	defer s.leave()
	routing := key.Ref.Routing()
	name := recordKey(s.tag(key.Namespace, routing), member(key.Ref))
	value, now, err := s.get(ctx, name)
	if err != nil {
		return state.Record{}, readError(err)
	}
	if value.IsNil() {
		return state.Record{}, &state.NotFoundError{}
	}
	b, err := value.AsBytes()
	if err != nil {
		return state.Record{}, readError(err)
	}
	return readRecord(key, b, s.observe(routing, now.UnixMilli()))
}

// get returns what stands under a name and the server's time. That is read
// after it: a record that lives then lived when it was read.
func (s *Store) get(ctx context.Context, name string) (rueidis.RedisMessage, time.Time, error) {
	if s.mode != rueidis.ClientModeCluster {
		v, _, err := s.lanes.reads.ask(ctx, name)
		if err != nil {
			return rueidis.RedisMessage{}, time.Time{}, err
		}
		return v.message, v.now, v.err
	}
	for try := 0; ; try++ {
		results := s.client.DoMulti(ctx, s.client.B().Get().Key(name).Build(), s.client.B().Time().Build())
		if try == 0 && broken(ctx, results[0].NonRedisError()) {
			continue
		}
		now, err := s.timeOf(results[1])
		if err != nil {
			return rueidis.RedisMessage{}, now, err
		}
		value, err := results[0].ToMessage()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return value, now, err
	}
}

// readRecord reads what stands in a record's place: the record if it lives, or
// the error.
func readRecord(key state.Key, b []byte, now time.Time) (state.Record, error) {
	if len(b) > 0 && b[0] == 't' {
		return state.Record{}, missing(key, b, now)
	}
	r, err := parseRecord(key, b, now)
	if err != nil {
		return state.Record{}, err
	}
	if r.Expired(now) {
		return state.Record{}, missing(key, b, now)
	}
	return r, nil
}

// timeOf reads the answer to TIME.
func (s *Store) timeOf(r rueidis.RedisResult) (time.Time, error) {
	parts, err := r.ToArray()
	if err != nil {
		return time.Time{}, err
	}
	if s.opts.clock != nil {
		return s.opts.clock(), nil
	}
	if len(parts) != 2 {
		return time.Time{}, errTime
	}
	sec, err := parseInt(parts[0])
	if err != nil {
		return time.Time{}, err
	}
	usec, err := parseInt(parts[1])
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(sec*1000 + usec/1000).UTC(), nil
}

var errTime = errors.New("the answer to TIME is none")

func parseInt(m rueidis.RedisMessage) (int64, error) {
	text, err := m.ToString()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}
