package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// calmEvery is the time in which a warning is written calmBurst times at
	// most: a store that is down is one fault, not one for each request.
	calmEvery = 10 * time.Second
	calmBurst = 5
	// calmMessages bounds the messages that are told apart. They are constants
	// of the program, of which there are fewer.
	calmMessages = 512
)

// calm is a log in which warnings and errors that repeat are counted rather
// than written. The next one that is written has the count, as suppressed.
type calm struct {
	slog.Handler
	seen *repeats
}

func newCalm(h slog.Handler) calm {
	return calm{Handler: h, seen: &repeats{messages: map[string]*repeat{}}}
}

type repeats struct {
	mu       sync.Mutex // guards messages and what they lead to
	messages map[string]*repeat
}

// A repeat is what is known of one message.
type repeat struct {
	began      time.Time // of the current interval
	written    int       // since then
	suppressed int       // since one was written
}

// Handle implements [slog.Handler].
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return c.Handler.Handle(ctx, r)
	}
	suppressed, ok := c.seen.admit(r.Message, r.Time)
	if !ok {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return c.Handler.Handle(ctx, r)
}

// admit reports whether a message may be written, and how many were not since
// the last.
func (s *repeats) admit(message string, at time.Time) (suppressed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[message]
	if m == nil {
		if len(s.messages) >= calmMessages {
			return 0, true
		}
		m = &repeat{began: at}
		s.messages[message] = m
	}
	if passed := at.Sub(m.began); passed >= calmEvery || passed < 0 {
		m.began, m.written = at, 0
	}
	if m.written >= calmBurst {
		m.suppressed++
		return 0, false
	}
	m.written++
	suppressed, m.suppressed = m.suppressed, 0
	return suppressed, true
}

// WithAttrs implements [slog.Handler].
func (c calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	return calm{Handler: c.Handler.WithAttrs(attrs), seen: c.seen}
}

// WithGroup implements [slog.Handler].
func (c calm) WithGroup(name string) slog.Handler {
	return calm{Handler: c.Handler.WithGroup(name), seen: c.seen}
}
