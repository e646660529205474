package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

type randomness struct{}

func (randomness) Read(p []byte) (int, error) { return rand.Read(p) }

func TestMembersFindOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		for _, r := range []*replica{a, b} {
			members, err := r.Members(t.Context())
			if err != nil || len(members) != 2 {
				t.Fatalf("members: %+v, %v", members, err)
			}
			for _, m := range members {
				if m.Self != (m.Name == r.Name()) || m.State != Serving || m.Lapsed || m.Advertise == "" || m.Since.IsZero() {
					t.Errorf("got %+v", m)
				}
			}
		}
		if p := a.locate(b.Name()); p.Where != Elsewhere || p.Member.Advertise != "http://replica2:80" {
			t.Errorf("got %+v", p)
		}
		if p := a.locate(a.Name()); p.Where != Here {
			t.Errorf("its own: %+v", p)
		}
		if p := a.locate(""); p.Where != Free {
			t.Errorf("nobody's: %+v", p)
		}
		read, err := Members(t.Context(), w.store, namespace)
		if err != nil || len(read) != 2 {
			t.Errorf("read from the store: %+v, %v", read, err)
		}
	})
}

// Whoever joined a moment ago may own a session already.
func TestOwnerThatJoinedJustNowIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		b := w.join()
		if p := a.locate(b.Name()); p.Where != Elsewhere {
			t.Errorf("got %+v", p)
		}
	})
}

func TestHeartbeatIsOneWriteABeatWhateverTheNumberOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		for range 500 {
			a.claim(w.session())
		}
		writes, lists := a.link.writes.Load(), a.link.lists.Load()
		const beats = 100
		time.Sleep(beats * a.opts.beat())
		synctest.Wait()
		if n := a.link.writes.Load() - writes; n < beats-1 || n > beats {
			t.Errorf("%d writes in %d beats", n, beats)
		}
		if n := a.link.lists.Load() - lists; n < beats-1 || n > beats+1 {
			t.Errorf("%d lists in %d beats", n, beats)
		}
		if !a.Confirmed() || a.locate(b.Name()).Where != Elsewhere {
			t.Error("they have lost one another")
		}
	})
}

// Takeover is to come within 1.5 times the timeout after a kill, at whatever
// moment that comes.
func TestKilledMemberIsFreeWithinOneAndAHalfTimeouts(t *testing.T) {
	for _, phase := range []time.Duration{0, 10, 333, 500, 750, 999} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.join(), w.join()
			time.Sleep(10*w.timeout + phase*time.Millisecond)
			owner := b.Name()
			b.kill()
			killed := time.Now()
			for a.locate(owner).Where != Free {
				if time.Since(killed) > w.timeout*3/2 {
					t.Fatalf("phase %v: not free %v after the kill", phase, time.Since(killed))
				}
				time.Sleep(10 * time.Millisecond)
			}
			if d := time.Since(killed); d < w.timeout-a.opts.beat() {
				t.Errorf("phase %v: free %v after the kill, while it could have been alive", phase, d)
			}
			if n := len(mustMembers(t, a)); n != 1 {
				t.Errorf("%d members after it was retired", n)
			}
		})
	}
}

func mustMembers(t testing.TB, r *replica) []Member {
	t.Helper()
	members, err := r.Members(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return members
}

func TestMemberThatLeavesIsFreeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		owner := b.Name()
		m := a.locate(owner).Member
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := mustMembers(t, a); got[0].State == got[1].State {
			t.Errorf("nobody drains: %+v", got)
		}
		lost := b.Lost()
		writes := b.link.writes.Load()
		b.leave()
		if n := b.link.writes.Load() - writes; n != 1 {
			t.Errorf("leaving took %d writes", n)
		}
		if !isClosed(lost) || b.Confirmed() || b.Name() != "" {
			t.Error("it has not noticed that it left")
		}
		began := time.Now()
		if err := a.Settle(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if p := a.locate(owner); p.Where != Free || time.Since(began) > 0 {
			t.Errorf("after %v: %+v", time.Since(began), p)
		}
		if _, err := b.Locate(t.Context(), owner); !errors.Is(err, ErrClosed) {
			t.Errorf("locate after leaving: %v", err)
		}
	})
}

// A store that answers nobody for a while must not make anybody lapse, whatever
// the order in which they get through again.
func TestStalledStoreRetiresNobody(t *testing.T) {
	for _, stall := range []time.Duration{2 * time.Second, 10 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			replicas := []*replica{w.join(), w.join(), w.join()}
			time.Sleep(time.Minute + 300*time.Millisecond)
			names := []string{}
			for _, r := range replicas {
				names = append(names, r.Name())
				r.link.setStalled(true)
			}
			time.Sleep(stall)
			for _, r := range replicas {
				if r.Confirmed() == (stall >= w.timeout) {
					t.Errorf("confirmed after %v: %v", stall, r.Confirmed())
				}
			}
			for i, r := range replicas {
				r.link.setStalled(false)
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			}
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				for _, r := range replicas {
					for i, owner := range names {
						if r.Confirmed() && r.locate(owner).Where == Free {
							t.Fatalf("replica %d was retired after a stall of %v", i, stall)
						}
					}
				}
			}
			for i, r := range replicas {
				if !r.Confirmed() || r.Name() != names[i] {
					t.Errorf("replica %d did not come back as it was", i)
				}
			}
		})
	}
}

// One that cannot reach the store knows nothing of the others.
func TestNodeThatIsCutOffRetiresNobodyAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		time.Sleep(time.Minute)
		lost := a.Lost()
		a.link.setCut(true)
		time.Sleep(w.timeout)
		if a.Confirmed() || !isClosed(lost) || !isClosed(a.Lost()) {
			t.Error("it does not know that it is cut off")
		}
		if _, err := a.Locate(t.Context(), b.Name()); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("locate: %v", err)
		}
		if _, err := a.Claim(t.Context(), w.session(), 0); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("claim: %v", err)
		}
		time.Sleep(time.Hour)
		if got := a.Silence(); got < time.Hour+w.timeout || got > time.Hour+2*w.timeout {
			t.Errorf("silent for %v", got)
		}
		a.link.setCut(false)
		time.Sleep(w.timeout)
		if got := a.Silence(); got > a.opts.beat() {
			t.Errorf("silent for %v although the store answers", got)
		}
		if !a.Confirmed() || isClosed(a.Lost()) || a.locate(b.Name()).Where != Elsewhere || b.locate(a.Name()).Where != Elsewhere {
			t.Error("they did not find together again")
		}
	})
}

// As long as others may take it for gone the node is not confirmed, and what it
// said to be lost is lost, however short the break was.
func TestBreakOfAnyLengthIsNoticed(t *testing.T) {
	for _, length := range []time.Duration{2600 * time.Millisecond, 2999 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a := w.join()
			name, lost := a.Name(), a.Lost()
			time.Sleep(time.Minute + time.Millisecond) // a heartbeat was just sent
			if isClosed(lost) || a.Lost() != lost {
				t.Error("heartbeats change what is lost")
			}
			a.link.setStalled(true)
			time.Sleep(length)
			if a.Confirmed() || !isClosed(lost) {
				t.Errorf("confirmed %v after its last heartbeat", length)
			}
			a.link.setStalled(false)
			time.Sleep(a.opts.beat())
			if !a.Confirmed() || isClosed(a.Lost()) || a.Name() != name {
				t.Error("it did not come back")
			}
		})
	}
}

// A break that no timer has noticed, since the process was paused with it, is
// noticed by the heartbeat that ends it.
func TestBreakThatNobodyWasAwakeToSeeIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		lost := a.Lost()
		over := *a.now.Load()
		over.until = time.Now()
		a.now.Store(&over)
		if err := a.heartbeat(); err != nil {
			t.Fatal(err)
		}
		if !a.Confirmed() || !isClosed(lost) || isClosed(a.Lost()) {
			t.Error("what was lost in between is not said to be")
		}
	})
}

// Whenever one may take a session over, its owner has stopped serving it
// already, whatever the moment at which the owner was cut off or stalled, and
// comes back.
func TestOwnerStopsBeforeOthersTakeOver(t *testing.T) {
	for phase := time.Duration(0); phase < 1100*time.Millisecond; phase += 90 * time.Millisecond {
		for _, stalled := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a, b := w.join(), w.join()
				time.Sleep(10*time.Second + phase)
				owner, lost := b.Name(), b.Lost()
				mustMembers(t, a)
				if stalled {
					b.link.setStalled(true)
				} else {
					b.link.setCut(true)
				}
				for a.locate(owner).Where != Free {
					time.Sleep(time.Millisecond)
				}
				if b.Confirmed() || !isClosed(lost) {
					t.Errorf("phase %v: taken over while its owner serves it", phase)
				}
			})
		}
	}
}

// That a member is silent is known at the moment at which its silence reaches
// the timeout, not at the next heartbeat.
func TestLapseIsNoticedWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		time.Sleep(300 * time.Millisecond)
		b := w.join()
		time.Sleep(10*time.Second + time.Millisecond) // past the heartbeat, not at the same moment
		owner := b.Name()
		mustMembers(t, a) // sees the heartbeat that b has just sent, or saw it when it came
		b.link.setCut(true)
		time.Sleep(w.timeout - 2*time.Millisecond)
		if p := a.locate(owner); p.Where != Elsewhere {
			t.Errorf("before: %+v", p)
		}
		time.Sleep(a.opts.beat() / 4)
		if p := a.locate(owner); p.Where != Free {
			t.Errorf("after: %+v", p)
		}
	})
}

func TestRetiredNodeGoesOnUnderANewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		key := w.session()
		epoch := b.claim(key)
		was, lost := b.Name(), b.Lost()
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.link.setCut(true)
		time.Sleep(2 * w.timeout)
		if p := a.locate(was); p.Where != Free {
			t.Fatalf("got %+v", p)
		}
		a.claim(key)
		b.link.setCut(false)
		time.Sleep(w.timeout)
		if !b.Confirmed() || b.Name() == was || b.Name() == "" || !isClosed(lost) || isClosed(b.Lost()) {
			t.Error("it did not go on as a new incarnation")
		}
		if p := a.locate(b.Name()); p.Where != Elsewhere || p.Member.State != Draining {
			t.Errorf("the new incarnation: %+v", p)
		}
		if p := b.locate(was); p.Where != Free {
			t.Errorf("its old name: %+v", p)
		}
		_, err := state.Do(t.Context(), w.store, state.TouchOp{Key: key, Idle: time.Hour, Epoch: epoch})
		if !errors.Is(err, state.ErrFenced) {
			t.Errorf("a write of the former owner: %v", err)
		}
		if b.Stats().Reappeared != 1 {
			t.Errorf("stats: %+v", b.Stats())
		}
	})
}

func TestRestartedReplicaRetiresItsPredecessorAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.joinAs("there")
		was := b.Name()
		b.kill()
		began := time.Now()
		again := w.joinAs("there")
		if p := again.locate(was); p.Where != Free || time.Since(began) > 0 {
			t.Errorf("after %v: %+v", time.Since(began), p)
		}
		if n := len(mustMembers(t, a)); n != 2 {
			t.Errorf("%d members", n)
		}
	})
}

// A member that was silent, and is back before anybody needed its sessions, is
// what it was.
func TestMemberThatComesBackBeforeItIsRetiredKeepsItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		name := b.Name()
		b.link.setCut(true)
		time.Sleep(3 * w.timeout)
		for _, m := range mustMembers(t, a) {
			if m.Lapsed != (m.Name == name) {
				t.Errorf("got %+v", m)
			}
		}
		b.link.setCut(false)
		time.Sleep(w.timeout)
		if b.Name() != name || a.locate(name).Where != Elsewhere {
			t.Error("it was retired although nobody needed that")
		}
	})
}

func TestMemberThatWasSilentForLongIsTidiedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		b.kill()
		time.Sleep((longGone + 3) * w.timeout)
		read, err := Members(t.Context(), w.store, namespace)
		if err != nil || len(read) != 1 || read[0].Name != a.Name() {
			t.Errorf("got %+v, %v", read, err)
		}
	})
}

// A record of a program from the future is a member, though nobody knows how to
// reach it.
func TestMemberThatCannotBeUnderstoodStillOwnsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		ref, _ := state.NewRef(nodeRouting, randomness{})
		_, err := state.Do(t.Context(), w.store, state.CreateOp{
			Record: state.Record{Namespace: namespace, Kind: Kind, Ref: ref, User: nodeUser}, Idle: time.Hour, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		p := a.locate(ref.String())
		if p.Where != Elsewhere || p.Member.Advertise != "" {
			t.Errorf("got %+v", p)
		}
		if err := a.Forward(nil, httpRequest("GET", "/mcp", ""), p.Member, Forwarding{}); !errors.Is(err, ErrUndelivered) {
			t.Errorf("forward: %v", err)
		}
		time.Sleep(w.timeout * 3 / 2)
		if p := a.locate(ref.String()); p.Where != Free {
			t.Errorf("after its silence: %+v", p)
		}
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	good := Options{Namespace: namespace, Advertise: "http://10.0.0.7:8080"}
	if _, err := good.resolve(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no namespace":      func(o *Options) { o.Namespace = "" },
		"no URL":            func(o *Options) { o.Advertise = "" },
		"no scheme":         func(o *Options) { o.Advertise = "10.0.0.7:8080" },
		"another scheme":    func(o *Options) { o.Advertise = "ftp://10.0.0.7" },
		"no host":           func(o *Options) { o.Advertise = "http://:8080" },
		"a password":        func(o *Options) { o.Advertise = "http://me:secret@10.0.0.7" },
		"a path":            func(o *Options) { o.Advertise = "http://10.0.0.7/mcp" },
		"a query":           func(o *Options) { o.Advertise = "http://10.0.0.7?x" },
		"a tiny timeout":    func(o *Options) { o.Timeout = time.Millisecond },
		"a negative bound":  func(o *Options) { o.MaxForwards = -1 },
		"a very long value": func(o *Options) { o.Version = string(make([]byte, 1000)) },
	} {
		o := good
		change(&o)
		if _, err := o.resolve(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
