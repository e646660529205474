package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// A disturbance is what was done to the fleet, and how long it lasted.
type disturbance struct {
	what     string
	from, to time.Time
}

const (
	killed    = "kill -9"
	suspended = "SIGSTOP"
	drained   = "drain"
)

// slack is for machines that are busy: bounds are relative to the heartbeat
// timeout, but no process runs at once here.
const slack = 6 * time.Second

// bound is how long at most a client may wait for its next success.
func (d *disturbance) bound() time.Duration {
	switch d.what {
	case killed:
		return heartbeatTimeout*3/2 + slack
	case suspended:
		// A client whose request the replica has got gives up by itself.
		return 2*heartbeatTimeout + callGives + slack
	}
	return slack
}

// TestClientsDoNotNoticeWhatHappensToReplicas has clients of every kind do
// everything through a balancer that sends each request to a random replica,
// while replicas are killed, stopped and resumed, and drained and replaced, one
// after another. COATCHECK_TEST_CLIENTS, COATCHECK_TEST_SECONDS and
// COATCHECK_TEST_STORE make it larger, longer, or of one store.
func TestClientsDoNotNoticeWhatHappensToReplicas(t *testing.T) {
	overSharedStores(t, func(t *testing.T, f *fleet) {
		f.grow(3)
		patrons := make([]*patron, fromEnv(t, "COATCHECK_TEST_CLIENTS", 12))
		for i := range patrons {
			patrons[i] = newPatron(t, i, f.balancer.url())
		}
		stop := make(chan struct{})
		var all sync.WaitGroup
		for _, s := range patrons {
			all.Go(func() { s.shop(stop) })
		}
		disturbances := f.disturb(time.Duration(fromEnv(t, "COATCHECK_TEST_SECONDS", 40)) * time.Second)
		close(stop)
		all.Wait()
		judge(t, patrons, disturbances)
		for _, s := range patrons {
			s.settle()
		}
		hearOfOneAnother(t, patrons)
		f.ownersAreAlive()
	})
}

// disturb does one thing after another to the replicas.
func (f *fleet) disturb(d time.Duration) []disturbance {
	var done []disturbance
	deeds := []struct {
		what string
		do   func(*server)
	}{
		{killed, f.kill},
		{drained, f.replace},
		{suspended, func(s *server) { f.suspend(s, 2*heartbeatTimeout) }},
	}
	for end, n := time.Now().Add(d), 0; time.Now().Before(end); n++ {
		deed := deeds[n%len(deeds)]
		began := time.Now()
		deed.do(f.pick(n))
		done = append(done, disturbance{what: deed.what, from: began, to: time.Now()})
		<-time.After(2 * heartbeatTimeout) // so that it is known what was due to what
	}
	return done
}

// judge says whether the clients fared as they should.
func judge(t *testing.T, patrons []*patron, disturbances []disturbance) {
	t.Helper()
	deeds, failed := 0, map[string]int{}
	longest := map[string]time.Duration{}
	for _, s := range patrons {
		deeds += len(s.deeds)
		for _, d := range s.deeds {
			if d.err == nil {
				continue
			}
			cause := causeOf(disturbances, d.began, d.ended)
			failed[cause]++
			t.Logf("%s: %s failed after %v, due to %q: %v", s.name, d.what, d.ended.Sub(d.began).Round(time.Millisecond), cause, d.err)
			if cause == "" || cause == drained {
				t.Errorf("%s: %s failed, due to %q: %v", s.name, d.what, cause, d.err)
			}
			if strings.Contains(d.err.Error(), "session not found") || strings.Contains(d.err.Error(), "404") {
				t.Errorf("%s: %s was told that its session is gone: %v", s.name, d.what, d.err)
			}
		}
		for _, pause := range s.pauses() {
			cause := causeOf(disturbances, pause.began, pause.ended)
			longest[cause] = max(longest[cause], pause.ended.Sub(pause.began))
		}
	}
	for _, d := range disturbances {
		if got := longest[d.what]; got > d.bound() {
			t.Errorf("the longest pause for a %s was %v, want at most %v", d.what, got, d.bound())
		}
	}
	t.Logf("%d clients did %d things; failed: %s; longest pauses: %v; disturbances: %d",
		len(patrons), deeds, counted(failed), longest, len(disturbances))
}

func counted(failed map[string]int) string {
	if len(failed) == 0 {
		return "none"
	}
	return fmt.Sprint(failed)
}

// causeOf returns what happened to the fleet meanwhile: the worst of it.
func causeOf(disturbances []disturbance, began, ended time.Time) string {
	cause := ""
	for _, d := range disturbances {
		// A takeover follows within a timeout and a half.
		if ended.Before(d.from) || began.After(d.to.Add(2*heartbeatTimeout)) {
			continue
		}
		if cause == "" || cause == drained {
			cause = d.what
		}
	}
	return cause
}

// A pause is from the beginning of something that a client did to its first
// success from then on, less what that takes by itself.
type pause struct{ began, ended time.Time }

func (s *patron) pauses() []pause {
	var all []pause
	var open *pause
	for _, d := range s.deeds {
		if open == nil {
			open = &pause{began: d.began}
		}
		if d.err == nil {
			open.ended = d.ended.Add(-d.wants())
			all = append(all, *open)
			open = nil
		}
	}
	return all
}

// settle makes sure that the client goes on with the same session, and that
// nothing it was told is lost.
func (s *patron) settle() {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); ; {
		if err = s.look(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%s does not go on: %v", s.name, err)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	if got := s.p.session(); got != s.id {
		s.t.Errorf("%s has another session", s.name)
	}
	if s.modern { // its stream ended with its server, and is not resumed
		eventually(s.t, s.name+" watches again", func() bool { return s.p.watch(s.note) == nil })
	}
}

// hearOfOneAnother makes sure that what one client saves, through whichever
// replica, all others that watch it are told.
func hearOfOneAnother(t *testing.T, patrons []*patron) {
	t.Helper()
	before := make([]int, len(patrons))
	for i, s := range patrons {
		before[i] = s.p.seen().count(updated(s.note))
	}
	for i, s := range patrons {
		eventually(t, s.name+" hears of "+s.note, func() bool {
			if s.p.seen().count(updated(s.note)) > before[i] {
				return true
			}
			by := patrons[(i+4)%len(patrons)]
			_, err := by.call("save_note", map[string]any{"title": strings.TrimPrefix(s.note, "note:///"), "text": "for all"})
			if err != nil {
				t.Logf("%s: save_note: %v", by.name, err)
			}
			return false
		})
	}
}

// ownersAreAlive makes sure that what "sessions list" says of owners is so.
func (f *fleet) ownersAreAlive() {
	f.t.Helper()
	f.mu.Lock()
	n := len(f.replicas)
	f.mu.Unlock()
	owners := map[string]bool{}
	for _, s := range objects(f.t, append([]string{"sessions", "list"}, f.flags(0)...)...) {
		if owner, _ := s["owner"].(string); owner != "" {
			owners[owner] = true
		}
	}
	if len(owners) == 0 || len(owners) > n {
		f.t.Errorf("sessions have %d owners, there are %d replicas", len(owners), n)
	}
}
