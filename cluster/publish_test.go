package cluster

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// An ear collects what it is told.
type ear struct {
	mu   sync.Mutex
	told []Message // guarded by mu
}

func (e *ear) hear(m Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, m)
}

// texts returns what was told, with a mark before what came after a loss.
func (e *ear) texts() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for _, m := range e.told {
		text := string(m.Payload)
		if m.Missed {
			text = "missed " + text
		}
		all = append(all, text)
	}
	return all
}

func TestMessagesReachAllOthersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		replicas := []*replica{w.join(), w.join(), w.join()}
		ears := make([]ear, len(replicas))
		for i, r := range replicas {
			r.Subscribe("news", ears[i].hear)
			mustMembers(t, r)
		}
		var want []string
		for i := range 1000 {
			text := fmt.Sprint(i)
			want = append(want, text)
			if err := replicas[0].Publish("news", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := replicas[0].Publish("other", []byte("for nobody")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(w.timeout)
		if got := ears[0].texts(); len(got) != 0 {
			t.Errorf("it was told of its own: %q", got)
		}
		for i := 1; i < len(ears); i++ {
			if got := ears[i].texts(); strings.Join(got, ",") != strings.Join(want, ",") {
				t.Errorf("replica %d was told %d messages: %.200q", i, len(got), got)
			}
		}
		if ears[1].told[0].From != replicas[0].Name() || ears[1].told[0].Topic != "news" {
			t.Errorf("got %+v", ears[1].told[0])
		}
	})
}

// A member that has joined just now is told from its first moment on.
func TestNewMemberIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		b := w.join()
		var e ear
		b.Subscribe("news", e.hear)
		synctest.Wait() // no time passes: b has said that it is there
		if err := a.Publish("news", []byte("x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := e.texts(); len(got) != 1 {
			t.Errorf("told %q", got)
		}
	})
}

// What a member cannot be told now it is told later; if that becomes too much
// it loses the oldest, and is told that it did.
func TestMemberThatCannotBeReachedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		var e ear
		b.Subscribe("news", e.hear)
		mustMembers(t, a)
		synctest.Wait()
		away := w.network.hosts["replica2:80"]
		part := func(parted bool) {
			w.network.mu.Lock()
			defer w.network.mu.Unlock()
			a.transport.CloseIdleConnections()
			if parted {
				delete(w.network.hosts, "replica2:80")
			} else {
				w.network.hosts["replica2:80"] = away
			}
		}
		publish := func(texts ...string) {
			for _, text := range texts {
				if err := a.Publish("news", []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		part(true)
		publish("a", "b", "c")
		time.Sleep(time.Minute)
		part(false)
		time.Sleep(w.timeout)
		if got := fmt.Sprint(e.texts()); got != "[a b c]" {
			t.Fatalf("told %s", got)
		}
		part(true)
		for i := range outboxMessages + 2 {
			publish(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		part(false)
		time.Sleep(w.timeout)
		got := e.texts()[3:]
		if len(got) != outboxMessages || got[0] != "missed 2" || got[1] != "3" || got[len(got)-1] != fmt.Sprint(outboxMessages+1) {
			t.Errorf("told %d: %.200q", len(got), got)
		}
		if n := a.Stats().Dropped; n != 2 {
			t.Errorf("%d dropped", n)
		}
		part(true)
		big := strings.Repeat("x", MaxPayload)
		for range 2 * outboxBytes / MaxPayload {
			publish(big)
		}
		a.view.all()[0].outbox.mu.Lock()
		if n := a.view.all()[0].outbox.bytes; n > outboxBytes {
			t.Errorf("%d bytes wait", n)
		}
		a.view.all()[0].outbox.mu.Unlock()
	})
}

// A batch that was told, but whose answer was lost, is not told twice.
func TestMessagesToldTwiceAreHeardOnce(t *testing.T) {
	var b inbox
	var e ear
	n := &Node{}
	n.Subscribe("t", e.hear)
	letters := func(texts ...string) (all []letter) {
		for _, text := range texts {
			all = append(all, letter{"t", []byte(text)})
		}
		return all
	}
	b.receive(n, "a", 100, nil)
	b.receive(n, "a", 100, letters("0", "1"))
	b.receive(n, "a", 100, letters("0", "1", "2"))
	b.receive(n, "a", 100, letters("0"))
	b.receive(n, "a", 105, letters("5"))
	b.receive(n, "a", 104, letters("4", "5", "6"))
	if got := fmt.Sprint(e.texts()); got != "[0 1 2 missed 5 6]" {
		t.Errorf("told %s", got)
	}
}

func TestCancelledSubscriberHearsNothing(t *testing.T) {
	n := &Node{}
	var one, two ear
	cancel := n.Subscribe("t", one.hear)
	n.Subscribe("t", two.hear)
	n.topics.tell(Message{Topic: "t", Payload: []byte("x")})
	cancel()
	cancel()
	n.topics.tell(Message{Topic: "t", Payload: []byte("y")})
	if a, b := len(one.texts()), len(two.texts()); a != 1 || b != 2 {
		t.Errorf("told %d and %d", a, b)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		for topic, size := range map[string]int{"": 0, strings.Repeat("t", MaxTopic+1): 0, "t": MaxPayload + 1} {
			if err := a.Publish(topic, make([]byte, size)); !errors.Is(err, ErrTooLarge) {
				t.Errorf("topic of %d bytes, payload of %d: %v", len(topic), size, err)
			}
		}
		if err := a.Publish(strings.Repeat("t", MaxTopic), make([]byte, MaxPayload)); err != nil {
			t.Error(err)
		}
		a.leave()
		if err := a.Publish("t", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after it left: %v", err)
		}
	})
}

// The goroutines of members that come and go end with them.
func TestMembersThatWentLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	a := w.join()
	before := goleak.IgnoreCurrent()
	for range 5 {
		b := w.join()
		mustMembers(t, a)
		b.leave()
		mustMembers(t, a)
	}
	a.transport.CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if n := len(a.view.all()); n != 0 {
		t.Errorf("%d members are kept", n)
	}
}
