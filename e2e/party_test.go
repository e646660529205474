package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// A party is some patrons who shop at the same time, while things happen to the
// replicas.
type party struct {
	t       testing.TB
	patrons []*patron
	stop    chan struct{}
	all     sync.WaitGroup
}

// newParty is one of so many clients, one of each kind in turn.
func newParty(t testing.TB, n int, url string) *party {
	t.Helper()
	var patrons []*patron
	for i := range n {
		patrons = append(patrons, newPatron(t, i, url))
	}
	return shopTogether(t, patrons)
}

// shopTogether has the patrons begin.
func shopTogether(t testing.TB, patrons []*patron) *party {
	p := &party{t: t, patrons: patrons, stop: make(chan struct{})}
	for _, s := range patrons {
		p.all.Go(func() { s.shop(p.stop) })
	}
	t.Cleanup(p.end)
	return p
}

// end has them finish what they do.
func (p *party) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.all.Wait()
}

// during does something to the replicas, and waits until every patron has got
// on after it, so that it is known what was due to what.
func (p *party) during(what string, do func()) disturbance {
	p.t.Helper()
	d := disturbance{what: what, from: time.Now()}
	do()
	over := time.Now()
	for _, s := range p.patrons {
		eventually(p.t, s.name+" gets on after a "+what, func() bool {
			began := s.gotOn.Load()
			return began != nil && began.After(over)
		})
	}
	d.to = time.Now()
	p.t.Logf("%s took %v, and then it took %v until all had got on",
		what, over.Sub(d.from).Round(time.Millisecond), d.to.Sub(over).Round(time.Millisecond))
	return d
}

// judge ends it, and says whether the patrons fared as they should.
func (p *party) judge(store *sharedStore, disturbances []disturbance) {
	p.t.Helper()
	p.end()
	deeds, failed := 0, map[string]int{}
	longest := map[string]time.Duration{}
	for _, s := range p.patrons {
		deeds += len(s.deeds)
		for _, d := range s.deeds {
			if d.err == nil {
				continue
			}
			cause := causeOf(disturbances, d.began, d.ended)
			failed[cause]++
			p.t.Logf("%s: %s failed after %v, due to %q: %v", s.name, d.what, d.ended.Sub(d.began).Round(time.Millisecond), cause, d.err)
			if cause == "" || cause == drained {
				p.t.Errorf("%s: %s failed, due to %q: %v", s.name, d.what, cause, d.err)
			}
			if strings.Contains(d.err.Error(), "session not found") || strings.Contains(d.err.Error(), "404") {
				p.t.Errorf("%s: %s was told that its session is gone: %v", s.name, d.what, d.err)
			}
		}
		for _, pause := range s.pauses() {
			cause := causeOf(disturbances, pause.began, pause.ended)
			longest[cause] = max(longest[cause], pause.ended.Sub(pause.began))
		}
	}
	for cause, got := range longest {
		if most := store.bound(cause); cause != "" && got > most {
			p.t.Errorf("the longest pause for %q was %v, want at most %v", cause, got, most)
		}
	}
	p.t.Logf("%d clients did %d things; failed: %s; longest pauses: %v; disturbances: %d",
		len(p.patrons), deeds, counted(failed), longest, len(disturbances))
	for _, s := range p.patrons {
		s.settle()
	}
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
		if ended.Before(d.from) || began.After(d.to) {
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
