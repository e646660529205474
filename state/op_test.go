package state_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestCreateStampsDeadlines(t *testing.T) {
	now := day.Add(456 * time.Microsecond).In(time.FixedZone("east", 3600))
	for name, c := range map[string]struct {
		idle, lifetime time.Duration
		wantIdle       time.Duration // from day
		reason         state.Reason
	}{
		"idle first":     {time.Hour, 24 * time.Hour, time.Hour, state.ReasonIdle},
		"absolute first": {24 * time.Hour, time.Hour, time.Hour, state.ReasonAbsolute},
		"both at once":   {time.Hour, time.Hour, time.Hour, state.ReasonAbsolute},
		"a millisecond":  {state.Precision, time.Hour, state.Precision, state.ReasonIdle},
	} {
		t.Run(name, func(t *testing.T) {
			op := state.CreateOp{Idle: c.idle, Lifetime: c.lifetime}
			s := op.Stamp(now)
			if s.Version != 1 || s.Revision != 1 || s.Epoch != 0 {
				t.Errorf("got %+v", s)
			}
			if !s.Created.Equal(day) || !s.LastAccessed.Equal(day) || s.Created.Location() != time.UTC {
				t.Errorf("created %v, accessed %v, want %v", s.Created, s.LastAccessed, day)
			}
			if !s.IdleDeadline.Equal(day.Add(c.wantIdle)) || !s.AbsoluteDeadline.Equal(day.Add(c.lifetime)) {
				t.Errorf("deadlines %v and %v", s.IdleDeadline, s.AbsoluteDeadline)
			}
			if s.Remaining != c.wantIdle || s.Expiry() != c.reason {
				t.Errorf("remaining %v, reason %v", s.Remaining, s.Expiry())
			}
		})
	}
}

func stampOf(idle, absolute time.Duration) state.Stamp {
	return state.Stamp{
		Version: 3, Revision: 9, Epoch: 2, Created: day, LastAccessed: day,
		IdleDeadline: day.Add(idle), AbsoluteDeadline: day.Add(absolute),
	}
}

func TestTouchMovesForwardOnly(t *testing.T) {
	for name, c := range map[string]struct {
		after, idle            time.Duration
		wantAccessed, wantIdle time.Duration
	}{
		"later":                   {30 * time.Minute, time.Hour, 30 * time.Minute, 90 * time.Minute},
		"shorter than before":     {30 * time.Minute, time.Minute, 30 * time.Minute, time.Hour},
		"capped":                  {30 * time.Minute, 48 * time.Hour, 30 * time.Minute, 24 * time.Hour},
		"clock behind":            {-time.Minute, time.Hour, 0, time.Hour},
		"less than a millisecond": {900 * time.Microsecond, time.Hour, 0, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			op := state.TouchOp{Idle: c.idle}
			before := stampOf(time.Hour, 24*time.Hour)
			s := op.Apply(before, day.Add(c.after))
			if got := s.LastAccessed.Sub(day); got != c.wantAccessed {
				t.Errorf("accessed after %v, want %v", got, c.wantAccessed)
			}
			if got := s.IdleDeadline.Sub(day); got != c.wantIdle {
				t.Errorf("idle deadline after %v, want %v", got, c.wantIdle)
			}
			if s.Version != 3 || s.Revision != 9 || s.Epoch != 2 || s.Created != before.Created || s.AbsoluteDeadline != before.AbsoluteDeadline {
				t.Errorf("touch changed more: %+v", s)
			}
			if want := s.Expires().Sub(state.Cut(day.Add(c.after))); s.Remaining != want {
				t.Errorf("remaining %v, want %v", s.Remaining, want)
			}
		})
	}
}

func TestExtendSetsBothDeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		after, by, limit time.Duration
		want             time.Duration // from Created
	}{
		"longer":             {time.Hour, 48 * time.Hour, 100 * time.Hour, 49 * time.Hour},
		"shorter":            {time.Hour, time.Minute, 100 * time.Hour, 61 * time.Minute},
		"capped":             {time.Hour, 48 * time.Hour, 30 * time.Hour, 30 * time.Hour},
		"capped in the past": {time.Hour, 48 * time.Hour, time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			op := state.ExtendOp{For: c.by, Max: c.limit}
			now := day.Add(c.after)
			s := op.Apply(stampOf(2*time.Hour, 24*time.Hour), now)
			if got := s.AbsoluteDeadline.Sub(day); got != c.want || s.IdleDeadline != s.AbsoluteDeadline {
				t.Errorf("deadlines after %v and %v, want %v", got, s.IdleDeadline.Sub(day), c.want)
			}
			if !s.LastAccessed.Equal(now) || s.Version != 3 || s.Revision != 9 || s.Epoch != 2 {
				t.Errorf("got %+v", s)
			}
			if s.Expired(now) != (c.want <= c.after) {
				t.Errorf("expired: %v", s.Expired(now))
			}
		})
	}
}

func TestStampsNeverLeaveTheirRules(t *testing.T) {
	span := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(int64(state.Precision), int64(hundredYears)).Draw(t, "span"))
	})
	rapid.Check(t, func(t *rapid.T) {
		create := state.CreateOp{Idle: span.Draw(t, "idle"), Lifetime: span.Draw(t, "lifetime")}
		now := day.Add(time.Duration(rapid.Int64Range(0, int64(hundredYears)).Draw(t, "now")))
		s := create.Stamp(now)
		for range rapid.IntRange(0, 5).Draw(t, "steps") {
			before := s
			if rapid.Bool().Draw(t, "extend") {
				op := state.ExtendOp{For: span.Draw(t, "for"), Max: span.Draw(t, "max")}
				s = op.Apply(s, now)
				if s.AbsoluteDeadline.After(s.Created.Add(op.Max)) {
					t.Fatalf("extended beyond the maximum: %+v", s)
				}
			} else {
				op := state.TouchOp{Idle: span.Draw(t, "idle")}
				s = op.Apply(s, now)
				if s.IdleDeadline.Before(before.IdleDeadline) || s.LastAccessed.Before(before.LastAccessed) {
					t.Fatalf("a touch went back: %+v from %+v", s, before)
				}
			}
			if s.IdleDeadline.After(s.AbsoluteDeadline) || s.Created != before.Created || s.Version != 1 {
				t.Fatalf("got %+v from %+v", s, before)
			}
			for _, m := range []time.Time{s.LastAccessed, s.IdleDeadline, s.AbsoluteDeadline} {
				if m != state.Cut(m) {
					t.Fatalf("%v is not cut", m)
				}
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pass")))
		}
	})
}

func TestARecordExpiresWhenItsDeadlineIsReached(t *testing.T) {
	s := stampOf(time.Hour, 2*time.Hour)
	if s.Expired(day.Add(time.Hour - 1)) {
		t.Error("expired a nanosecond early")
	}
	if !s.Expired(day.Add(time.Hour)) {
		t.Error("lives at its deadline")
	}
	// Imported records may have the absolute deadline first.
	s = stampOf(2*time.Hour, time.Hour)
	if !s.Expired(day.Add(time.Hour)) || s.Expiry() != state.ReasonAbsolute || !s.Expires().Equal(day.Add(time.Hour)) {
		t.Errorf("expires %v: %v", s.Expires(), s.Expiry())
	}
}

func TestRotationKeepsThePreviousSecretForItsGrace(t *testing.T) {
	old := state.Secret{Hash: state.Hash{1}, Previous: state.Hash{9}, PreviousUntil: day.Add(time.Hour)}
	with := state.Rotation{Hash: state.Hash{2}, Grace: time.Minute}
	s := with.Apply(old, day.Add(300*time.Microsecond))
	if s.Hash != (state.Hash{2}) || s.Previous != (state.Hash{1}) || !s.PreviousUntil.Equal(day.Add(time.Minute)) {
		t.Errorf("got %+v", s)
	}
	if s.At(day.Add(time.Minute-1)) != s {
		t.Error("the previous secret ended early")
	}
	if got := s.At(day.Add(time.Minute)); got != (state.Secret{Hash: state.Hash{2}}) {
		t.Errorf("at its deadline: %+v", got)
	}
	for _, grace := range []time.Duration{0, -time.Hour} {
		without := state.Rotation{Hash: state.Hash{2}, Grace: grace}
		if s := without.Apply(old, day); s != (state.Secret{Hash: state.Hash{2}}) {
			t.Errorf("grace %v: %+v", grace, s)
		}
	}
}

func TestCloneSharesNothingWritable(t *testing.T) {
	r := goldenRecords(t)["full"]
	c := r.Clone()
	c.Data["cart"] = nil
	if r.Data["cart"] == nil {
		t.Error("the copy shares its map")
	}
	if (&state.Record{}).Clone().Data == nil {
		t.Error("Data of a copy is nil")
	}
}
