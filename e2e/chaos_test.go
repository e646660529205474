package e2e

import (
	"strings"
	"testing"
	"time"
)

// A disturbance is what was done to the fleet, and how long it lasted: until
// every client had got on.
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
func (s *sharedStore) bound(what string) time.Duration {
	switch what {
	case killed:
		return s.heartbeatTimeout*3/2 + s.election + slack
	case suspended:
		// A client whose request the replica has got gives up by itself.
		return 2*s.heartbeatTimeout + s.election + callGives + slack
	}
	return slack
}

// TestClientsDoNotNoticeWhatHappensToReplicas has clients of every kind do
// everything through a balancer that sends each request to a random replica,
// while replicas are killed, drained and replaced, and stopped and resumed, one
// after another. COATCHECK_TEST_CLIENTS, COATCHECK_TEST_SECONDS and
// COATCHECK_TEST_STORE make it larger, longer, or of one store.
func TestClientsDoNotNoticeWhatHappensToReplicas(t *testing.T) {
	overSharedStores(t, func(t *testing.T, f *fleet) {
		f.grow(3, executable)
		p := newParty(t, fromEnv(t, "COATCHECK_TEST_CLIENTS", 12), f.balancer.url())
		disturbances := f.disturb(time.Duration(fromEnv(t, "COATCHECK_TEST_SECONDS", 20))*time.Second, p)
		p.judge(&f.store, disturbances)
		if n := f.balancer.vain.Load(); n > 0 {
			t.Errorf("no replica said that it was ready, for %d requests", n)
		}
		hearOfOneAnother(t, p.patrons)
		f.ownersAreAlive()
	})
}

// disturb does one thing after another to the replicas, each of them at least
// once.
func (f *fleet) disturb(d time.Duration, p *party) []disturbance {
	f.t.Helper()
	var done []disturbance
	deeds := []struct {
		what string
		do   func(*server)
	}{
		{killed, f.kill},
		{drained, func(s *server) { f.replace(s, executable) }},
		{suspended, func(s *server) { f.suspend(s, 2*f.store.heartbeatTimeout) }},
	}
	for end, n := time.Now().Add(d), 0; n < len(deeds) || time.Now().Before(end); n++ {
		deed := deeds[n%len(deeds)]
		done = append(done, p.during(deed.what, func() { deed.do(f.pick(n)) }))
	}
	return done
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
