package redis

import (
	"context"
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
	var results []rueidis.RedisResult
	for try := 0; ; try++ {
		// In this order: a record that lives at the time read after it lived
		// when it was read.
		results = s.client.DoMulti(ctx, s.client.B().Get().Key(name).Build(), s.client.B().Time().Build())
		if try > 0 || !broken(ctx, results[0].NonRedisError()) {
			break
		}
	}
	now, err := s.timeOf(routing, results[1])
	if err != nil {
		return state.Record{}, readError(err)
	}
	b, err := results[0].AsBytes()
	if rueidis.IsRedisNil(err) {
		return state.Record{}, &state.NotFoundError{}
	}
	if err != nil {
		return state.Record{}, readError(err)
	}
	return readRecord(key, b, now)
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
func (s *Store) timeOf(routing byte, r rueidis.RedisResult) (time.Time, error) {
	parts, err := r.ToArray()
	if err != nil || len(parts) != 2 {
		return time.Time{}, err
	}
	if s.opts.clock != nil {
		return s.observe(routing, s.opts.clock().UnixMilli()), nil
	}
	sec, err := parseInt(parts[0])
	if err != nil {
		return time.Time{}, err
	}
	usec, err := parseInt(parts[1])
	if err != nil {
		return time.Time{}, err
	}
	return s.observe(routing, sec*1000+usec/1000), nil
}

func parseInt(m rueidis.RedisMessage) (int64, error) {
	text, err := m.ToString()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}
