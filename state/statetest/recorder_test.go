package statetest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A recorder is a testing.TB that notes a failure instead of reporting it, so
// that a check can be run on a store that must not pass it.
type recorder struct {
	testing.TB // of the test that uses the recorder, for what is not below

	mu       sync.Mutex
	failed   bool
	skipped  bool
	said     []string
	cleanups []func()
}

func (r *recorder) note(failed bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	if text != "" {
		r.said = append(r.said, text)
	}
}

func (r *recorder) Helper()                        {}
func (r *recorder) Log(args ...any)                { r.note(false, fmt.Sprint(args...)) }
func (r *recorder) Logf(format string, a ...any)   { r.note(false, fmt.Sprintf(format, a...)) }
func (r *recorder) Fail()                          { r.note(true, "") }
func (r *recorder) Error(args ...any)              { r.note(true, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, a ...any) { r.note(true, fmt.Sprintf(format, a...)) }
func (r *recorder) Fatal(args ...any)              { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); runtime.Goexit() }
func (r *recorder) FailNow()                       { r.Fail(); runtime.Goexit() }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}
func (r *recorder) Skip(args ...any)            { r.Log(args...); r.SkipNow() }
func (r *recorder) Skipf(f string, args ...any) { r.Logf(f, args...); r.SkipNow() }

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.said, "\n")
}

// record runs a function as a test of its own and returns what it reported.
func record(t *testing.T, run func(tb testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.note(true, fmt.Sprint("panic: ", p))
			}
		}()
		run(r)
	}()
	<-done
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return r
}

// recordCheck runs one check, named as in "Create/RefusesTakenRef", with little
// patience, since what must fail would otherwise be waited for.
func recordCheck(t *testing.T, groups []group, name string, h Harness) *recorder {
	t.Helper()
	h.patience, h.timeout = 400*time.Millisecond, 10*time.Second
	groupName, checkName, _ := strings.Cut(name, "/")
	for _, g := range groups {
		for _, c := range g.checks {
			if g.name == groupName && c.name == checkName {
				c.need |= freshStore
				return record(t, func(tb testing.TB) { runCheck(tb, h, c, opened{}) })
			}
		}
	}
	t.Fatalf("there is no check %s", name)
	return nil
}

// skipShort skips tests of the suite itself in short mode, in which the random
// and concurrent checks do too little to find everything.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the checks do less in short mode")
	}
}
