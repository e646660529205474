package redis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	// togetherFlights is how many batches of reads are under way at most.
	togetherFlights = 2
	// togetherSize bounds a batch.
	togetherSize = 64
)

// together joins reads that are asked for while others are under way into one
// MGET and one TIME. A read that is alone goes at once. It is for servers that
// hold all keys: a cluster has them in different places.
type together struct {
	mu      sync.Mutex // guards all below
	flights int
	waiting []*getBatch // the last may still take more
}

// A getBatch is one round trip for several callers.
type getBatch struct {
	names []string
	done  chan struct{} // closed when the answers are there
	// Written before done is closed.
	values []rueidis.RedisMessage
	now    time.Time
	err    error
}

// get returns what stands under a name and the server's time, read after it.
func (s *Store) getTogether(ctx context.Context, name string) (rueidis.RedisMessage, time.Time, error) {
	t := &s.together
	t.mu.Lock()
	if t.flights < togetherFlights {
		t.flights++
		t.mu.Unlock()
		b := &getBatch{names: []string{name}}
		s.fly(ctx, b)
		t.landed(s)
		return b.value(0)
	}
	b := t.last()
	at := len(b.names)
	b.names = append(b.names, name)
	t.mu.Unlock()
	select {
	case <-b.done:
		return b.value(at)
	case <-ctx.Done():
		return rueidis.RedisMessage{}, time.Time{}, ctx.Err()
	}
}

func (b *getBatch) value(i int) (rueidis.RedisMessage, time.Time, error) {
	if b.err != nil {
		return rueidis.RedisMessage{}, time.Time{}, b.err
	}
	return b.values[i], b.now, nil
}

// last returns the batch that takes more; mu is held.
func (t *together) last() *getBatch {
	if n := len(t.waiting); n > 0 && len(t.waiting[n-1].names) < togetherSize {
		return t.waiting[n-1]
	}
	b := &getBatch{done: make(chan struct{}), names: make([]string, 0, togetherSize)}
	t.waiting = append(t.waiting, b)
	return b
}

// landed ends a flight, or begins the next in its place. That one outlives the
// caller who began it, so it does not end with the caller's context; it ends
// when the connection does.
func (t *together) landed(s *Store) {
	t.mu.Lock()
	if len(t.waiting) == 0 {
		t.flights--
		t.mu.Unlock()
		return
	}
	next := t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	t.mu.Unlock()
	// Whoever calls is waited for by Close, and so is this.
	s.pumps.Go(func() {
		s.fly(context.Background(), next)
		close(next.done)
		t.landed(s)
	})
}

// fly makes the round trip.
func (s *Store) fly(ctx context.Context, b *getBatch) {
	for try := 0; ; try++ {
		c := s.client.B()
		results := s.client.DoMulti(ctx, c.Mget().Key(b.names...).Build(), c.Time().Build())
		b.values, b.err = results[0].ToArray()
		if b.err == nil {
			b.now, b.err = s.timeOf(results[1])
		}
		if try > 0 || !broken(ctx, b.err) {
			return
		}
	}
}
