package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestWarningsThatRepeatAreCounted(t *testing.T) {
	var out bytes.Buffer
	h := newCalm(slog.NewTextHandler(&out, nil))
	start := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	say := func(h slog.Handler, level slog.Level, message string, after time.Duration) string {
		out.Reset()
		if err := h.Handle(context.Background(), slog.NewRecord(start.Add(after), level, message, 0)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for range calmBurst {
		if say(h, slog.LevelWarn, "down", 0) == "" {
			t.Fatal("one of the first was suppressed")
		}
	}
	for range 3 {
		if got := say(h.WithAttrs([]slog.Attr{slog.Int("n", 1)}), slog.LevelWarn, "down", time.Second); got != "" {
			t.Errorf("one too many: %s", got)
		}
	}
	if say(h, slog.LevelError, "something else", time.Second) == "" {
		t.Error("another message was suppressed")
	}
	for range 2 * calmBurst {
		if say(h, slog.LevelInfo, "said for each event", time.Second) == "" {
			t.Error("what is no warning was suppressed")
		}
	}
	if got := say(h.WithGroup("g"), slog.LevelWarn, "down", calmEvery); !strings.Contains(got, "suppressed=3") {
		t.Errorf("after a while: %s", got)
	}
	if got := say(h, slog.LevelWarn, "down", calmEvery); got == "" || strings.Contains(got, "suppressed") {
		t.Errorf("then: %s", got)
	}
	if say(h, slog.LevelWarn, "down", -time.Hour) == "" {
		t.Error("a clock that was set back silences the log")
	}
}

func TestMessagesThatAreToldApartAreBounded(t *testing.T) {
	s := repeats{messages: map[string]*repeat{}}
	for i := range 2 * calmMessages {
		s.admit(strings.Repeat("x", i), time.Time{})
	}
	if len(s.messages) > calmMessages {
		t.Errorf("%d are kept", len(s.messages))
	}
}
