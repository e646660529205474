package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/audit"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines reads a log; each line must be one event.
func lines(t *testing.T, text []byte) []audit.Event {
	t.Helper()
	var out []audit.Event
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		var e audit.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		out = append(out, e)
	}
	return out
}

func read(t *testing.T, path string) []audit.Event {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, text)
}

func TestSessionsLeaveATrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(memory.Options{})
	defer store.Close()
	m, err := session.NewManager(store, session.Options{
		Observe: log.Observe, Policy: session.Policy{MaxPerUser: 1, RefuseOverLimit: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	from := state.Metadata{Address: netip.MustParseAddr("192.0.2.7"), UserAgent: "agent"}
	s, err := m.SignIn(ctx, session.ID{}, session.SignInRequest{User: "ann", Metadata: from})
	if err != nil {
		t.Fatal(err)
	}
	_, stolen := m.AccessBy(ctx, s.ID, session.Caller{User: "eve", Address: netip.MustParseAddr("203.0.113.9")})
	_, over := m.Create(ctx, session.CreateRequest{User: "ann", Metadata: from})
	if stolen != session.ErrNotFound || !errors.Is(over, session.ErrLimit) {
		t.Fatalf("got %v, %v", stolen, over)
	}
	if err := m.Set(ctx, s.ID, "k", "data of the session"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Revoke(ctx, s.Ref, state.ReasonRevoked, "cli:root"); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	ref := s.Ref.String()
	want := []audit.Event{
		{Event: "session.created", Ref: ref, User: "ann", From: "192.0.2.7", Result: audit.OK},
		{Event: "session.signed_in", Ref: ref, User: "ann", From: "192.0.2.7", Result: audit.OK},
		{Event: "session.binding_mismatch", Ref: ref, User: "ann", By: "eve", From: "203.0.113.9", Why: "principal", Result: audit.Refused},
		{Event: "session.limit_refused", User: "ann", From: "192.0.2.7", Why: "user", Result: audit.Refused},
		{Event: "session.ended", Ref: ref, User: "ann", By: "cli:root", Why: "revoked", Result: audit.OK},
	}
	got := read(t, path)
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, e := range got {
		if e.Time.IsZero() || e.Kind != "session" {
			t.Errorf("line %d: %+v", i, e)
		}
		e.Time, e.Kind = time.Time{}, ""
		if e != want[i] {
			t.Errorf("line %d: %+v, want %+v", i, e, want[i])
		}
	}
	text, _ := os.ReadFile(path)
	secret := strings.TrimPrefix(s.ID.Reveal(), ref)
	if strings.Contains(string(text), secret) || strings.Contains(string(text), "data of the session") {
		t.Error("the log has the secret, or data")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What users and clients are called is theirs to choose; a line is a line.
func TestNobodyForgesALine(t *testing.T) {
	var out bytes.Buffer
	log := audit.New(&out, audit.Options{})
	forged := "ann\"}\n{\"event\":\"session.ended\",\"user\":\"bob\xff\u2028"
	log.Record(audit.Event{Event: "auth.refused", User: forged, By: forged, From: forged, Why: forged, Result: audit.Refused})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, out.Bytes()); len(got) != 1 || got[0].Event != "auth.refused" || !strings.HasPrefix(got[0].User, "ann\"}\n{") {
		t.Errorf("got %+v", got)
	}
}

// stuck is a writer that waits until it is let go, like a full pipe.
type stuck struct {
	bytes.Buffer
	entered, release chan struct{}
	once             sync.Once
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() {
		close(s.entered)
		<-s.release
	})
	return s.Buffer.Write(p)
}

func TestAWriterThatIsStuckHoldsNobodyUp(t *testing.T) {
	out := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
	var drops atomic.Int64
	log := audit.New(out, audit.Options{Buffer: 10, OnDrop: func() { drops.Add(1) }})
	log.Record(audit.Event{Event: "first"})
	<-out.entered
	for range 110 {
		log.Record(audit.Event{Event: "more"}) // would hang here
	}
	if drops.Load() != 100 {
		t.Errorf("%d dropped", drops.Load())
	}
	close(out.release)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	got := lines(t, out.Bytes())
	if len(got) != 12 || got[11].Event != "audit.dropped" || got[11].Dropped != 100 {
		t.Errorf("%d lines, the last %+v", len(got), got[len(got)-1])
	}
	log.Record(audit.Event{Event: "late"})
	if drops.Load() != 101 {
		t.Error("an event after the end is not counted")
	}
}

// failing is a disk that is full for a while, in the midst of a line.
type failing struct {
	bytes.Buffer
	fail int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.fail > 0 {
		f.fail--
		n, _ := f.Buffer.Write(p[:len(p)/2])
		return n, errors.New("no space left")
	}
	return f.Buffer.Write(p)
}

func TestWhatCannotBeWrittenIsCountedAndSpoilsNothing(t *testing.T) {
	out := &failing{fail: 2}
	told := make(chan struct{}, 1)
	log := audit.New(out, audit.Options{OnDrop: func() { told <- struct{}{} }})
	for range 2 {
		log.Record(audit.Event{Event: "lost"})
		<-told
	}
	log.Record(audit.Event{Event: "kept"})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out.String(), "\n") // behind the torn line
	got := lines(t, []byte(rest))
	if len(got) != 2 || got[0].Event != "kept" || got[1].Event != "audit.dropped" || got[1].Dropped != 2 {
		t.Errorf("got %q", out.String())
	}
}

func TestAFileIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log.Record(audit.Event{Event: "before"})
	for deadline := time.Now().Add(time.Minute); len(read(t, path)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is written")
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := log.Reopen(); err != nil {
		t.Fatal(err)
	}
	log.Record(audit.Event{Event: "after"})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path+".1"); len(got) != 1 || got[0].Event != "before" {
		t.Errorf("before: %+v", got)
	}
	if got := read(t, path); len(got) != 1 || got[0].Event != "after" {
		t.Errorf("after: %+v", got)
	}
}

func TestSeveralLogsShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var wg sync.WaitGroup
	for i := range 4 {
		log, err := audit.Open(path, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for n := range 500 {
				log.Record(audit.Event{Event: fmt.Sprintf("e%d", i), Why: strings.Repeat("x", n)})
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(read(t, path)); n != 2000 {
		t.Errorf("%d lines", n)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent", "audit.log"), os.DevNull} {
		if log, err := audit.Open(path, audit.Options{}); err == nil {
			_ = log.Close()
			t.Errorf("%s: opened", path)
		}
	}
}

func TestALoggerMayTakeTheEvents(t *testing.T) {
	var out bytes.Buffer
	log := audit.ToLogger(slog.New(slog.NewTextHandler(&out, nil)), audit.Options{})
	log.Record(audit.Event{Event: "auth.refused", From: "192.0.2.7", Why: "expired", Result: audit.Refused})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"msg=audit", "event=auth.refused", "from=192.0.2.7", "why=expired", "result=refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

func Example() {
	log := audit.New(os.Stdout, audit.Options{Clock: func() time.Time { return time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC) }})
	log.Record(audit.Event{Event: "auth.refused", From: "192.0.2.7", Why: "expired", Result: audit.Refused})
	log.Observe(context.Background(), session.Event{Type: session.EventUpdated}) // no matter of security
	_ = log.Close()                                                              // of a writer: nil
	// Output: {"time":"2026-11-25T10:00:00Z","event":"auth.refused","from":"192.0.2.7","why":"expired","result":"refused"}
}
