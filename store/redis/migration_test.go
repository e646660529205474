package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// While a slot is on its way from one node to another, what cannot be done
// whole is refused, and nothing is done by half.
func TestSlotOnTheMoveIsUnavailableForWrites(t *testing.T) {
	cluster := redisserver.StartCluster(t, 3, false)
	s := open(t, redis.Options{Addresses: cluster.Addrs()})
	var keys []state.Key
	for range 6 {
		keys = append(keys, create(t, s, "alice"))
	}
	slot := redisserver.Slot("test.07")
	from := cluster.Masters[slot*3/16384]
	to := cluster.Masters[(slot*3/16384+1)%3]
	refused, made := 0, 0
	cluster.MoveSlot(slot, from, to, func() {
		var ops []state.Op
		for _, key := range keys {
			ops = append(ops, state.UpdateOp{Key: key, Version: 1, Data: data(1)}, state.TouchOp{Key: key, Idle: 2 * time.Hour},
				state.SetOwnerOp{Key: key, Owner: "o"})
		}
		ops = append(ops, creation(newKey(t, 7), "alice"), revocation(keys[0]), revocation(keys[1]))
		for _, op := range ops {
			switch err := s.Apply(context.Background(), op)[0].Err; {
			case err == nil:
				made++
			case errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknownOutcome):
				refused++
			default:
				t.Errorf("%T while the slot is on the move: %v", op, err)
			}
		}
	})
	t.Logf("on the move: %d writes made, %d refused", made, refused)
	if refused == 0 {
		t.Error("nothing was refused: the slot was not on the move")
	}
	checkConsistency(t, cluster.Addrs()...)
	for _, key := range keys[2:] {
		do(t, s, revocation(key))
	}
	create(t, s, "alice")
	checkConsistency(t, cluster.Addrs()...)
}

func TestWritesGoOnWhileSlotsMove(t *testing.T) {
	cluster := redisserver.StartCluster(t, 3, false)
	s := open(t, redis.Options{Addresses: cluster.Addrs()})
	l := history.StartLoad(t, s, 8)
	await(t, "writes", &l.Done, 100)
	for i := range 8 {
		slot := redisserver.Slot("test." + hexByte(byte(i*37)))
		from := slot * 3 / 16384
		cluster.MoveSlot(slot, cluster.Masters[from], cluster.Masters[(from+1)%3], func() {})
	}
	before := l.Done.Load()
	await(t, "writes after the move", &l.Done, before+200)
	l.Finish()
	checkConsistency(t, cluster.Addrs()...)
}

func hexByte(b byte) string {
	return string([]byte{"0123456789abcdef"[b>>4], "0123456789abcdef"[b&15]})
}
