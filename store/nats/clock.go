package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// resample is how old the last look at the server's clock may be.
const resample = 30 * time.Second

// A clock estimates the servers' time: by the time with which the leader of a
// stream stored a message of the store's own, counted on by the process's
// monotonic clock. It never runs backwards. The estimate is a lower bound: the
// time was taken before the answer came.
type clock struct {
	source func() time.Time // replaces all of it in tests

	mu     sync.Mutex // guards all below
	at     time.Time  // when the estimate was made, with a monotonic reading
	time   time.Time  // the server's time then, at least
	latest time.Time  // the latest that was told
	asked  time.Time  // when the server was last asked
	asking bool
}

// start asks until an answer comes quickly enough for the declared error, but
// takes what it has on a machine that is busy for long.
func (c *clock) start(ctx context.Context, s *Store) error {
	if c.source != nil {
		return nil
	}
	var failed error
	for try := 0; try < 25 && ctx.Err() == nil; {
		took, err := c.sample(ctx, s)
		if err != nil {
			failed = err
			if !pause(ctx, 50*time.Millisecond) {
				break
			}
			continue
		}
		failed = nil
		try++
		if took < s.opts.ClockError/10 {
			break
		}
	}
	if err := errors.Join(ctx.Err(), failed); err != nil {
		return fmt.Errorf("open nats store: ask for the time: %w", err)
	}
	return nil
}

// sample writes a message and reads when it was stored.
func (c *clock) sample(ctx context.Context, s *Store) (time.Duration, error) {
	subject := s.ownSubject(0)
	began := time.Now()
	if _, err := s.putAll(ctx, 0, put{subject: subject, ttl: time.Minute}); err != nil {
		return 0, err
	}
	answered := time.Now()
	m, err := s.get(ctx, 0, subject)
	if err != nil {
		return 0, err
	}
	if m.seq == 0 {
		return 0, errors.New("the message is gone already")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = answered
	c.improve(m.time, answered)
	return answered.Sub(began), nil
}

// improve takes what makes the estimate later; mu is held.
func (c *clock) improve(t, at time.Time) {
	if c.at.IsZero() || t.After(c.time.Add(at.Sub(c.at))) {
		c.time, c.at = t, at
	}
}

// observe learns from the time of any message: the server's is not before it.
func (c *clock) observe(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.improve(t, time.Now())
}

// now returns the store's time.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.time.Add(time.Since(c.at))
	if c.source != nil {
		t = c.source()
	}
	if t.Before(c.latest) {
		return c.latest
	}
	c.latest = t
	return t
}

// due reports whether the server is to be asked again, and that the caller
// does it.
func (c *clock) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source != nil || c.asking || time.Since(c.asked) < resample {
		return false
	}
	c.asking = true
	return true
}

// refresh asks for the time again if the last answer is old. It is called with
// each operation, within the gate, and does not keep that waiting.
func (s *Store) refresh() {
	if !s.clock.due() {
		return
	}
	s.pumps.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.opts.Timeout)
		defer cancel()
		if _, err := s.clock.sample(ctx, s); err != nil {
			s.opts.Logger.Warn("nats store: the time could not be asked for", "error", err)
		}
		s.clock.mu.Lock()
		defer s.clock.mu.Unlock()
		s.clock.asking, s.clock.asked = false, time.Now()
	})
}
