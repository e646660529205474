package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

func TestFullServerRefusesWhatNeedsRoomAndStillEndsSessions(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	key, other := create(t, s, "alice"), create(t, s, "alice")
	brief := creation(newKey(t, 7), "bob")
	brief.Idle, brief.Lifetime = time.Millisecond, time.Millisecond
	do(t, s, brief)
	server.Do("CONFIG", "SET", "maxmemory", "1")
	ctx := context.Background()

	limited := creation(newKey(t, 7), "alice")
	limited.Limit.PerUser = 1
	for name, op := range map[string]state.Op{
		"create":             creation(newKey(t, 1), "carol"),
		"create that evicts": limited,
		"update":             state.UpdateOp{Key: key, Version: 1, Data: map[string]json.RawMessage{"n": json.RawMessage(`1`)}},
	} {
		err := s.Apply(ctx, op)[0].Err
		if !errors.Is(err, state.ErrFull) || !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) {
			t.Errorf("%s on a full server: %v", name, err)
		}
	}
	if r, err := s.Get(ctx, other); err != nil || r.Version != 1 {
		t.Errorf("a refused Create evicted: %v", err)
	}
	do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
	do(t, s, state.ExtendOp{Key: key, For: time.Hour, Max: 48 * time.Hour})
	do(t, s, state.SetOwnerOp{Key: key, Owner: "replica"})
	if res := do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonRevoked}); len(res.Ended) != 1 {
		t.Errorf("Delete on a full server ended %d", len(res.Ended))
	}
	if ends, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test"}); err != nil || len(ends) != 1 {
		t.Errorf("Sweep on a full server: %d ends, %v", len(ends), err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	do(t, s, limited)
	checkConsistency(t, server.Addr())
}

func TestServersThatRefuseAreUnavailable(t *testing.T) {
	for name, c := range map[string]struct{ on, off []string }{
		"replica":          {[]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}},
		"too few replicas": {[]string{"CONFIG", "SET", "min-replicas-to-write", "1"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		"protected by ACL": {[]string{"ACL", "SETUSER", "default", "-evalsha", "-eval"}, []string{"ACL", "SETUSER", "default", "+evalsha", "+eval"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := redisserver.Start(t)
			s := open(t, redis.Options{Addresses: []string{server.Addr()}, Deletes: state.ReplicateLeader})
			key := create(t, s, "alice")
			server.Do(c.on...)
			for _, op := range []state.Op{
				creation(newKey(t, 1), "bob"), state.TouchOp{Key: key, Idle: time.Hour}, revocation(key),
			} {
				err := s.Apply(context.Background(), op)[0].Err
				if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) || errors.Is(err, state.ErrNotFound) {
					t.Errorf("%T: %v", op, err)
				}
			}
			if _, err := s.Get(context.Background(), key); err != nil {
				t.Errorf("Get: %v", err)
			}
			server.Do(c.off...)
			do(t, s, revocation(key))
		})
	}
}

func TestServerThatMayEvictAnyKeyIsRefused(t *testing.T) {
	server := redisserver.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	_, err := redis.Open(context.Background(), redis.Options{Addresses: []string{server.Addr()}})
	if err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Errorf("got %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
	open(t, redis.Options{Addresses: []string{server.Addr()}})
}

func TestNoKeyHasATimeToLive(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	do(t, s, revocation(create(t, s, "alice")))
	create(t, s, "alice")
	for _, key := range server.List("KEYS", "*") {
		if ttl := server.Do("PTTL", key); ttl != "-1" {
			t.Errorf("%q lives for %s ms: a full server could drop it", key, ttl)
		}
	}
}

func TestCorruptRecordsAreSaidToBe(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	for name, damage := range map[string][]string{
		"other type":   {"DEL", "KEY", "LPUSH", "KEY", "x"},
		"not a record": {"SET", "KEY", "hello"},
		"cut off":      {"SET", "KEY", "r\x01" + strings.Repeat("\x7f", 200)},
	} {
		key := create(t, s, "alice")
		name := name
		full := "coatcheck:{test.07}:r:" + string(key.Ref.Bytes()[1:])
		for len(damage) > 0 {
			n := 3
			if damage[0] == "DEL" {
				n = 2
			}
			args := append([]string{}, damage[:min(n, len(damage))]...)
			args[1] = full
			server.Do(args...)
			damage = damage[min(n, len(damage)):]
		}
		if _, err := s.Get(context.Background(), key); !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, state.ErrNotFound) || errors.Is(err, state.ErrNotFound) && name != "other type" {
			t.Errorf("%s: Get: %v", name, err)
		}
	}
}

func TestRecordOfAnotherFormIsCorruptAndStays(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	key, ctx := create(t, s, "alice"), context.Background()
	form := func(letter string) {
		server.Do("EVAL", "for _, k in ipairs(redis.call('KEYS', '*}:r:*')) do redis.call('SETRANGE', k, 0, ARGV[1]) end", "0", letter)
	}
	form("r")
	if _, err := s.Get(ctx, key); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("Get: %v", err)
	}
	for _, err := range s.List(ctx, state.Query{Namespace: "test"}) {
		if !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("List: %v", err)
		}
	}
	update := state.UpdateOp{Key: key, Version: 1, Data: data(1)}
	for _, op := range []state.Op{
		update, state.TouchOp{Key: key, Idle: time.Hour}, state.ExtendOp{Key: key, For: time.Hour, Max: time.Hour},
		state.SetOwnerOp{Key: key, Owner: "replica"}, revocation(key),
	} {
		if err := s.Apply(ctx, op)[0].Err; !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%T: %v", op, err)
		}
	}
	form("R")
	if res := do(t, s, update); res.Stamp.Version != 2 || res.Stamp.Revision != 2 {
		t.Errorf("after what was refused an update is version %d and revision %d", res.Stamp.Version, res.Stamp.Revision)
	}
}
