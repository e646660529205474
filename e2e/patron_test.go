package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A patron is a client that does what clients do, over and over, and keeps
// account of what it was told.
type patron struct {
	t      testing.TB
	name   string
	p      peer
	modern bool
	basket map[string]any // the arguments that name the basket
	note   string         // the resource that it watches

	id           string   // of its session; empty in the modern era
	acknowledged []string // items that it was told are in the basket
	doubtful     []string // items that may be
	replicas     map[string]int
	deeds        []deed

	gotOn atomic.Pointer[time.Time] // when it began what it last did with its basket
}

// A deed is something that a patron did.
type deed struct {
	what         string
	began, ended time.Time
	err          error
}

// callGives is how long a call may take before its client gives up.
const callGives = 20 * time.Second

// newPatron connects the nth client: one of each kind in turn.
func newPatron(t testing.TB, n int, url string) *patron {
	t.Helper()
	return connectPatron(t, n, clients[n%len(clients)], url, "")
}

func connectPatron(t testing.TB, n int, c client, url, token string) *patron {
	t.Helper()
	s := &patron{
		t: t, name: fmt.Sprintf("%s %d", c.name, n), p: c.peer(t), modern: c.modern,
		basket: map[string]any{}, note: fmt.Sprintf("note:///board-%d", n%4), replicas: map[string]int{},
	}
	switch p := s.p.(type) {
	case *gopeer:
		p.gives = callGives
	case *node:
		p.gives = callGives
	}
	if err := s.p.connect(url, token); err != nil {
		t.Fatalf("%s: connect: %v", s.name, err)
	}
	s.id = s.p.session()
	if c.modern {
		s.basket["basket_id"] = ask(t, s.p, "create_basket", map[string]any{}).Structured["basket_id"]
	}
	if err := s.p.watch(s.note); err != nil {
		t.Fatalf("%s: watch: %v", s.name, err)
	}
	return s
}

// shop goes on until stop is closed.
func (s *patron) shop(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		s.do(n)
		<-time.After(time.Duration(rand.N(100)) * time.Millisecond)
	}
}

// basketful is when a patron stops adding: a basket takes 500 items, and one
// that is full is no failure of what is tested.
const basketful = 400

// do does one thing.
func (s *patron) do(n int) {
	d := deed{began: time.Now()}
	switch rand.N(10) {
	case 0, 1, 2, 3:
		if len(s.acknowledged)+len(s.doubtful) >= basketful {
			d.what = "view_basket"
			d.err = s.look()
			break
		}
		d.what = "add_item"
		d.err = s.add(fmt.Sprintf("item-%d", n))
	case 4, 5:
		d.what = "view_basket"
		d.err = s.look()
	case 6:
		d.what = "ask_name"
		d.err = s.greet()
	case 7:
		d.what = "countdown"
		d.err = s.count()
	case 8:
		d.what = "save_note"
		_, d.err = s.call("save_note", map[string]any{"title": strings.TrimPrefix(s.note, "note:///"), "text": s.name})
	default:
		d.what = "whoami"
		d.err = s.who()
	}
	d.ended = time.Now()
	s.deeds = append(s.deeds, d)
	if d.err == nil && (d.what == "add_item" || d.what == "view_basket") {
		s.gotOn.Store(&d.began)
	}
}

// call calls a tool. A tool error is an error.
func (s *patron) call(tool string, args map[string]any) (result, error) {
	r, err := s.p.call(tool, args)
	if err == nil && r.IsError {
		err = fmt.Errorf("tool error: %s", r.text())
	}
	return r, err
}

func (s *patron) add(item string) error {
	args := map[string]any{"item": item}
	for k, v := range s.basket {
		args[k] = v
	}
	if _, err := s.call("add_item", args); err != nil {
		s.doubtful = append(s.doubtful, item)
		return err
	}
	s.acknowledged = append(s.acknowledged, item)
	return nil
}

// look compares the basket with what is known of it.
func (s *patron) look() error {
	r, err := s.call("view_basket", s.basket)
	if err != nil {
		return err
	}
	list, _ := r.Structured["items"].([]any)
	have := strings.Fields(strings.Trim(fmt.Sprint(list), "[]"))
	kept := slices.DeleteFunc(slices.Clone(have), func(item string) bool { return slices.Contains(s.doubtful, item) })
	if !slices.Equal(kept, s.acknowledged) {
		s.t.Errorf("%s: the basket has %v, of which acknowledged %v, want %v", s.name, have, kept, s.acknowledged)
		s.acknowledged = kept // say it once
	}
	return nil
}

func (s *patron) greet() error {
	r, err := s.call("ask_name", map[string]any{})
	if err == nil && r.Structured["greeting"] != "Hello, Ada!" {
		s.t.Errorf("%s: ask_name = %v", s.name, r.Structured)
	}
	return err
}

func (s *patron) count() error {
	before := s.p.seen().count(named("progress"))
	_, err := s.call("countdown", map[string]any{"seconds": 1})
	if err == nil && s.p.seen().count(named("progress")) == before {
		s.t.Logf("%s: a countdown without progress", s.name)
	}
	return err
}

func (s *patron) who() error {
	r, err := s.call("whoami", map[string]any{})
	if err != nil {
		return err
	}
	if name, ok := r.Structured["replica"].(string); ok {
		s.replicas[name]++
	}
	return nil
}

// wants is how long the deed takes by itself.
func (d *deed) wants() time.Duration {
	if d.what == "countdown" {
		return time.Second
	}
	return 0
}
