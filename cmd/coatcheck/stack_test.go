package main

import (
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func TestBatchesAreReadFromTheirFlag(t *testing.T) {
	for text, want := range map[string]batched.Options{
		"size=64":                 {MaxOps: 64},
		"interval=5ms":            {Interval: 5 * time.Millisecond},
		"size=64,interval=5ms":    {MaxOps: 64, Interval: 5 * time.Millisecond},
		"touches=2s":              {WriteBehind: &batched.WriteBehind{Interval: 2 * time.Second}},
		"interval=1s,touches=10s": {Interval: time.Second, WriteBehind: &batched.WriteBehind{Interval: 10 * time.Second}},
	} {
		got, err := parseBatch(text)
		if err != nil || got.MaxOps != want.MaxOps || got.Interval != want.Interval || (got.WriteBehind == nil) != (want.WriteBehind == nil) {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		if want.WriteBehind != nil && got.WriteBehind.Interval != want.WriteBehind.Interval {
			t.Errorf("%s: touches every %v", text, got.WriteBehind.Interval)
		}
	}
}

// Touches wait only where that was asked for, and one that was answered and
// could not be stored is counted and logged.
func TestALostTouchIsCountedAndLogged(t *testing.T) {
	url := "sqlite:" + t.TempDir() + "/x.db"
	elsewhere, err := open.Open(t.Context(), url, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	for flag, lost := range map[string]float64{"size=8": 0, "touches=1h": 1} {
		flags := stackFlags{Batch: flag, cacheFlags: cacheFlags{Cache: "l1=1MiB", CacheStaleness: span(time.Second)}}
		around, err := flags.stack()
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMetrics(around.caches.Tiers())
		if err != nil {
			t.Fatal(err)
		}
		var log output
		s, err := open.Open(t.Context(), url, around.options(m, slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := state.NewRef(0, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key := state.Key{Namespace: "default", Ref: ref}
		for _, op := range []state.Op{
			state.CreateOp{Record: state.Record{Namespace: key.Namespace, Kind: "session", Ref: ref, User: "ann"}, Idle: 20 * time.Hour, Lifetime: 20 * time.Hour},
			state.TouchOp{Key: key, Idle: 20 * time.Hour},
		} {
			if _, err := state.Do(t.Context(), s, op); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := state.Do(t.Context(), elsewhere, state.DeleteOp{Key: key, Reason: state.ReasonRevoked}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, m, "session_touches_lost_total"); got != lost {
			t.Errorf("%s: %v touches lost, want %v", flag, got, lost)
		}
		if got := value(t, m, "session_batched_operations_total"); got == 0 {
			t.Errorf("%s: no operation was counted", flag)
		}
		if logged := strings.Contains(log.String(), ref.String()); logged != (lost > 0) || strings.Contains(log.String(), "ann") {
			t.Errorf("%s: logged %s", flag, &log)
		}
	}
}

func TestAComplaintIsNotRepeatedAtOnce(t *testing.T) {
	var c complaint
	start := time.Now()
	for at, want := range []bool{0: true, 1: false, 9: false, 10: true, 11: false} {
		if at > 1 && at < 9 {
			continue
		}
		if got := c.due(start.Add(time.Duration(at) * time.Second)); got != want {
			t.Errorf("after %d s: %v, want %v", at, got, want)
		}
	}
}

// value returns the value of a counter without labels.
func value(t *testing.T, m *metrics, name string) float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
