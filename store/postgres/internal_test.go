package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func FuzzSplitObjectAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a": 1}`, `{"a": [1, {"b": ", }"}], "c": "\\\""}`, `{"\u0061": null, "": {"x": {}}}`, `{"a" : 1 , "b":2 }`, `{"é": " \" ", "k": -1.5e3}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]json.RawMessage
		if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &want) != nil || want == nil {
			// The server writes only JSON objects; others must not panic.
			_ = splitObject([]byte(text), map[string]json.RawMessage{})
			return
		}
		got := map[string]json.RawMessage{}
		if err := splitObject([]byte(text), got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		same := maps.EqualFunc(got, want, func(a, b json.RawMessage) bool {
			var x, y any
			return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && mustJSON(x) == mustJSON(y)
		})
		if !same {
			t.Fatalf("%q: got %s, want %s", text, mustJSON(got), mustJSON(want))
		}
	})
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func FuzzUnescapeUserUndoesEscapeUser(f *testing.F) {
	for _, s := range []string{"", "ann", `\`, `\x00`, "\x00", "\xff\\", "é\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		text := EscapeUser(user)
		if strings.ToValidUTF8(text, "") != text || strings.IndexByte(text, 0) >= 0 {
			t.Fatalf("%q is escaped as %q, which is no text", user, text)
		}
		if back, err := unescapeUser(text); err != nil || back != user {
			t.Fatalf("%q came back as %q, %v", user, back, err)
		}
	})
}

func TestUnescapeUserRefusesWhatEscapeUserNeverWrites(t *testing.T) {
	for _, text := range []string{`\`, `a\`, `\x`, `\x0`, `\xzz`, `\n`} {
		if _, err := unescapeUser(text); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSynchronousStandbyNamesAreUnderstood(t *testing.T) {
	type want struct {
		waits, listed int
		all           bool
	}
	for names, want := range map[string]want{
		"": {}, "  ": {}, "two": {1, 1, false}, "a, b": {1, 2, false}, "*": {1, 1, true},
		"ANY 2 (a, b, c)": {2, 3, false}, "FIRST 3 (a,b,c)": {3, 3, false}, "2 (a, b)": {2, 2, false},
		"any 1 (*)": {1, 1, true}, "ANY 1 (\"a,*\", b)": {1, 2, false}, "ANY 2 (a, *)": {2, 2, true},
	} {
		waits, listed, all := synchronous(names)
		if waits != want.waits || listed != want.listed || all != want.all {
			t.Errorf("%q: got %d, %d, %v, want %v", names, waits, listed, all, want)
		}
	}
}

func TestLevelsOfAServer(t *testing.T) {
	for _, c := range []struct {
		st      standing
		level   state.Replication
		refuses []state.Replication
	}{
		{standing{"on", "", 0}, "", []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
		{standing{"on", "", 2}, state.ReplicateLeader, []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
		{standing{"on", "ANY 1 (a, b)", 2}, state.ReplicateQuorum, []state.Replication{state.ReplicateAll}},
		{standing{"remote_apply", "ANY 2 (a, b)", 0}, state.ReplicateQuorum, nil},
		{standing{"on", "ANY 1 (a, b, c)", 3}, state.ReplicateLeader, []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
		{standing{"on", "ANY 1 (*)", 4}, state.ReplicateLeader, []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
		{standing{"on", "*", 1}, state.ReplicateQuorum, nil},
		{standing{"remote_write", "ANY 1 (a)", 1}, state.ReplicateLeader, []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
		{standing{"local", "ANY 1 (a)", 1}, state.ReplicateLeader, []state.Replication{state.ReplicateQuorum, state.ReplicateAll}},
	} {
		if got := c.st.level(); got != c.level {
			t.Errorf("%+v: level %q, want %q", c.st, got, c.level)
		}
		for _, r := range []state.Replication{state.ReplicateNone, state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
			if err := c.st.check(r, c.st.need(r)); (err != nil) != slices.Contains(c.refuses, r) {
				t.Errorf("%+v: %s: %v", c.st, r, err)
			}
		}
	}
}

// recorder is a lane whose groups wait until they are let go.
type recorder struct {
	lane[int]
	mu     sync.Mutex
	groups [][]int
	ended  []error // of the contexts
	let    chan struct{}
}

func newRecorder(groups int) *recorder {
	r := &recorder{let: make(chan struct{})}
	r.lane = lane[int]{groups: groups, most: 100, timeout: time.Minute, run: func(ctx context.Context, g []int) {
		r.mu.Lock()
		r.groups = append(r.groups, slices.Clone(g))
		r.mu.Unlock()
		select {
		case <-r.let:
		case <-ctx.Done():
		}
		r.mu.Lock()
		r.ended = append(r.ended, ctx.Err())
		r.mu.Unlock()
	}}
	return r
}

// call has a caller come who is answered in the end.
func (r *recorder) call(t *testing.T, callers *sync.WaitGroup, n int) {
	callers.Go(func() {
		if err := r.do(context.Background(), n, 1); err != nil {
			t.Error(err)
		}
	})
}

func (r *recorder) state() (groups [][]int, waiting int) {
	r.mu.Lock()
	groups = slices.Clone(r.groups)
	r.mu.Unlock()
	r.lane.mu.Lock()
	defer r.lane.mu.Unlock()
	return groups, len(r.waiting)
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("waited for " + what)
		}
	}
}

func TestLaneGathersWhileAGroupIsUnderWay(t *testing.T) {
	r := newRecorder(1)
	var callers sync.WaitGroup
	call := func(n int) { r.call(t, &callers, n) }
	call(1)
	until(t, "the first", func() bool { g, _ := r.state(); return len(g) == 1 })
	for n := range 10 {
		call(10 + n)
	}
	until(t, "the others", func() bool { _, n := r.state(); return n == 10 })
	close(r.let)
	callers.Wait()
	r.wait()
	if len(r.groups) != 2 || len(r.groups[0]) != 1 || len(r.groups[1]) != 10 {
		t.Errorf("the groups were %v, want one of 1 and one of 10", r.groups)
	}
}

func TestGroupsShareTheCallers(t *testing.T) {
	r := newRecorder(2)
	var callers sync.WaitGroup
	call := func(n int) { r.call(t, &callers, n) }
	for n := range 2 {
		call(n)
		until(t, "one alone", func() bool { g, _ := r.state(); return len(g) == n+1 })
	}
	for n := range 11 {
		call(n)
	}
	until(t, "the others", func() bool { _, n := r.state(); return n == 11 })
	r.let <- struct{}{}
	until(t, "the first group", func() bool { g, _ := r.state(); return len(g) == 3 })
	if g, waiting := r.state(); len(g[2]) != 6 || waiting != 5 {
		t.Errorf("of 12 callers one group took %d beside one of 1, and left %d", len(g[2]), waiting)
	}
	close(r.let)
	callers.Wait()
	r.wait()
	if r.under != 0 || r.running != 0 {
		t.Errorf("in the end %d callers in %d groups are under way", r.under, r.running)
	}
}

// A server between two groups goes on when as many have come as it waits for,
// and not before.
func TestServerThatSettlesIsToldWhenCallersAreBack(t *testing.T) {
	r := newRecorder(1)
	close(r.let)
	r.running = 1 // the server is this test
	st := r.await(2)
	if st == nil {
		t.Fatal("nobody waits, and two did not have to be waited for")
	}
	var callers sync.WaitGroup
	for n := range 2 {
		r.call(t, &callers, n)
		until(t, "a caller", func() bool { _, waiting := r.state(); return waiting == n+1 })
		select {
		case <-st.come:
			if n == 0 {
				t.Error("told after one caller of two")
			}
		default:
			if n == 1 {
				t.Error("two callers came, and the server was not told")
			}
		}
	}
	if r.await(2) != nil {
		t.Error("two callers wait, and were to be waited for")
	}
	r.serve()
	callers.Wait()
	if len(r.groups) != 1 || len(r.settling) != 0 {
		t.Errorf("%d groups and %d servers that settle, want one group and none", len(r.groups), len(r.settling))
	}
}

func TestCancelledCallerLeavesItsGroupAlone(t *testing.T) {
	r := newRecorder(1)
	first := make(chan error, 1)
	go func() { first <- r.do(context.Background(), 1, 1) }()
	until(t, "the first", func() bool { g, _ := r.state(); return len(g) == 1 })

	ctx, cancel := context.WithCancel(context.Background())
	waiting, stays := make(chan error, 1), make(chan error, 1)
	early, cancelEarly := context.WithCancel(context.Background())
	go func() { waiting <- r.do(early, 9, 1) }()
	until(t, "one to wait", func() bool { _, n := r.state(); return n == 1 })
	cancelEarly()
	if err := <-waiting; !errors.Is(err, errWithdrawn) {
		t.Errorf("who left before the group began: %v", err)
	}

	leaves := make(chan error, 1)
	go func() { leaves <- r.do(ctx, 2, 1) }()
	go func() { stays <- r.do(context.Background(), 3, 1) }()
	until(t, "two to wait", func() bool { _, n := r.state(); return n == 2 })
	r.let <- struct{}{}
	until(t, "the second group", func() bool { g, _ := r.state(); return len(g) == 2 })
	cancel()
	if err := <-leaves; !errors.Is(err, errLeft) {
		t.Errorf("who left a group: %v", err)
	}
	r.let <- struct{}{}
	if err := <-stays; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	r.wait()
	if r.ended[1] != nil {
		t.Errorf("the group of two ended by %v", r.ended[1])
	}
}

func TestGroupThatNobodyWaitsForEnds(t *testing.T) {
	r := newRecorder(1)
	ctx, cancel := context.WithCancel(context.Background())
	both := make(chan error, 3)
	go func() { both <- r.do(ctx, 1, 1) }()
	until(t, "a group alone", func() bool { g, _ := r.state(); return len(g) == 1 })
	for range 2 {
		go func() { both <- r.do(ctx, 2, 1) }()
	}
	until(t, "two to wait", func() bool { _, n := r.state(); return n == 2 })
	r.let <- struct{}{}
	if err := <-both; err != nil {
		t.Error(err)
	}
	until(t, "the second group", func() bool { g, _ := r.state(); return len(g) == 2 })
	cancel()
	for range 2 {
		if err := <-both; !errors.Is(err, errLeft) {
			t.Error(err)
		}
	}
	r.wait()
	if !errors.Is(r.ended[1], context.Canceled) {
		t.Errorf("the group ended by %v", r.ended[1])
	}
}

func TestTurnstileWaitsForThoseInside(t *testing.T) {
	var ts turnstile
	before := ts.enter()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if ts.drain(ctx) {
		t.Error("drained though somebody is inside")
	}
	after := ts.enter()
	drained := make(chan bool)
	ts.leave(before)
	go func() { drained <- ts.drain(context.Background()) }()
	ts.leave(after)
	if !<-drained {
		t.Error("not drained though everybody has left")
	}
	if !ts.drain(context.Background()) || len(ts.before) != 0 {
		t.Error("an empty turnstile does not drain")
	}
}
