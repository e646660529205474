package sqlite

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
)

// A touch that was in time but is still on its way must not bring back what
// somebody was told is gone.
func TestGetOfTheJustExpiredWaitsForTouchesOnTheirWay(t *testing.T) {
	for name, opts := range map[string]Options{"Cached": {}, "Uncached": {CacheBytes: -1}} {
		t.Run(name, func(t *testing.T) {
			clock := statetest.NewClock()
			opts.Clock = clock.Now
			s := openTest(t, "", opts)
			key := create(t, s, "x")
			clock.Advance(2*time.Hour - time.Second)
			touched, let := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				err := s.writeJob(t.Context(), func(x *tx) error {
					_, err := x.apply(state.TouchOp{Key: key, Idle: time.Hour})
					close(touched)
					<-let
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
			<-touched
			clock.Advance(2 * time.Second)
			var r state.Record
			var err error
			wg.Go(func() { r, err = s.Get(t.Context(), key) })
			eventually(t, "Get waits for the writer", func() bool { return len(s.writer.queue) == 1 })
			close(let)
			wg.Wait()
			if err != nil || r.Revision != 2 {
				t.Errorf("Get: revision %d, %v; want the touched record", r.Revision, err)
			}
		})
	}
}

func TestExpiredRecordSaysHowItEnded(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	key := create(t, s, "x")
	r := get(t, s, key)
	deadline := r.Expires()
	for _, after := range []time.Duration{2 * time.Hour, 24 * time.Hour} {
		clock.Advance(after)
		_, err := s.Get(t.Context(), key)
		gone, ok := errors.AsType[*state.NotFoundError](err)
		if !ok || gone.End == nil || gone.End.Reason != state.ReasonIdle || !gone.End.At.Equal(deadline) {
			t.Errorf("Get after expiry: %v, want the end at %v", err, deadline)
		}
	}
}

func TestRandomIDsGrowNothing(t *testing.T) {
	s := openTest(t, "", Options{})
	before := s.size(t)
	for range 1000 {
		if _, err := s.Get(t.Context(), newKey(t)); !errors.Is(err, state.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if after := s.size(t); after != before {
		t.Errorf("the database grew from %d to %d pages", before, after)
	}
}

func (s *Store) size(t *testing.T) int64 {
	t.Helper()
	var pages int64
	err := s.readers.read(t.Context(), func(c *conn) error {
		var err error
		pages, err = c.int64("PRAGMA page_count")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func TestValuesAreKeptByteForByte(t *testing.T) {
	s := openTest(t, "", Options{CacheBytes: -1})
	want := map[string]json.RawMessage{
		"spaces":          json.RawMessage(`{ "a" : [ 1 , 2 ] }`),
		"html":            json.RawMessage(`"<b>&amp;</b>"`),
		"number":          json.RawMessage(`1.0e400`),
		"twice":           json.RawMessage(`{"a":1,"a":2}`),
		"escape":          json.RawMessage(`"\u00e9\/"`),
		"<&>\"\\\n\u2028": json.RawMessage(`null`),
	}
	op := createOp(newKey(t), "")
	op.Record.Data = want
	do(t, s, op)
	got := get(t, s, op.Record.Key()).Data
	if len(got) != len(want) {
		t.Errorf("read %d values, want %d", len(got), len(want))
	}
	for k, v := range want {
		if string(got[k]) != string(v) {
			t.Errorf("value of %q is %s, want %s", k, got[k], v)
		}
	}
}

func TestOperatorsCanQueryTheData(t *testing.T) {
	s := openTest(t, "", Options{})
	key := create(t, s, "tea")
	var ref string
	err := s.readers.read(t.Context(), func(c *conn) error {
		_, err := c.query(`SELECT s.ref FROM sessions s JOIN records r USING (namespace, ref)
			WHERE s.user = 'alice' AND r.data ->> '$.value' = 'tea' AND s.expires > s.created`).
			one(func(r row) error { ref = r.text(0); return nil })
		return err
	})
	if err != nil || ref != key.Ref.String() {
		t.Errorf("found %q (%v), want %s", ref, err, key.Ref)
	}
}
