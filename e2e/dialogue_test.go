package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var sampleTools = []string{"add_item", "ask_name", "countdown", "create_basket", "save_note", "view_basket", "whoami"}

// A dialogue is what every client has to be able to do with the sample, in
// steps, so that the server can be killed between any two.
type dialogue struct {
	t      *testing.T
	p      peer
	modern bool
	note   string
	basket map[string]any // the arguments that name the basket
}

// begin does all that can be done on a server.
func (d *dialogue) begin() {
	d.t.Helper()
	d.listTools()
	d.fillBasket()
	d.answerQuestion()
	d.count()
	d.subscribe()
	d.hearOfNote("soup")
	d.tellWho(false)
}

func (d *dialogue) listTools() {
	d.t.Helper()
	names, err := d.p.tools()
	if err != nil {
		d.t.Fatal(err)
	}
	if slices.Sort(names); !slices.Equal(names, sampleTools) {
		d.t.Errorf("tools %v, want %v", names, sampleTools)
	}
}

// fillBasket fills the session's own basket, or with a modern client one made
// for it.
func (d *dialogue) fillBasket() {
	d.t.Helper()
	d.basket = map[string]any{}
	if d.modern {
		r, err := d.p.call("view_basket", map[string]any{})
		if err != nil {
			d.t.Fatal(err)
		}
		if !r.IsError || !strings.Contains(r.text(), "create_basket") {
			d.t.Errorf("view_basket without an id = %+v, want a tool error that says to call create_basket", r)
		}
		d.basket["basket_id"] = ask(d.t, d.p, "create_basket", map[string]any{}).Structured["basket_id"]
	}
	d.add("hat")
	d.add("scarf")
	d.expectItems("hat scarf")
}

func (d *dialogue) add(item string) {
	d.t.Helper()
	args := map[string]any{"item": item}
	for k, v := range d.basket {
		args[k] = v
	}
	ask(d.t, d.p, "add_item", args)
}

func (d *dialogue) expectItems(want string) {
	d.t.Helper()
	if got := items(d.t, ask(d.t, d.p, "view_basket", d.basket)); got != want {
		d.t.Errorf("the basket has %q, want %q", got, want)
	}
}

func (d *dialogue) answerQuestion() {
	d.t.Helper()
	asked := d.p.seen().count(named("elicitation"))
	r := ask(d.t, d.p, "ask_name", map[string]any{})
	if r.Structured["greeting"] != "Hello, Ada!" {
		d.t.Errorf("ask_name = %v", r.Structured)
	}
	if got := d.p.seen().count(named("elicitation")) - asked; got != 1 {
		d.t.Errorf("the user was asked %d times, want once", got)
	}
}

func (d *dialogue) count() {
	d.t.Helper()
	before := d.p.seen().count(named("progress"))
	if r := ask(d.t, d.p, "countdown", map[string]any{"seconds": 1}); r.Structured["seconds"] != 1.0 {
		d.t.Errorf("countdown = %v", r.Structured)
	}
	eventually(d.t, "progress at 0 and at 1", func() bool { return d.p.seen().count(named("progress")) == before+2 })
}

func (d *dialogue) subscribe() {
	d.t.Helper()
	if err := d.p.watch(d.note); err != nil {
		d.t.Fatalf("subscribe: %v", err)
	}
}

// hearOfNote saves a note and waits to be told of it.
func (d *dialogue) hearOfNote(text string) {
	d.t.Helper()
	before := d.p.seen().count(updated(d.note))
	title := strings.TrimPrefix(d.note, "note:///")
	if uri := ask(d.t, d.p, "save_note", map[string]any{"title": title, "text": text}).Structured["uri"]; uri != d.note {
		d.t.Errorf("saved as %v, want %s", uri, d.note)
	}
	eventually(d.t, "the update of "+d.note, func() bool { return d.p.seen().count(updated(d.note)) > before })
	if got, err := d.p.read(d.note); err != nil || got != text {
		d.t.Errorf("the note says %q, %v; want %q", got, err, text)
	}
}

// tellWho returns the replica.
func (d *dialogue) tellWho(reactivated bool) string {
	d.t.Helper()
	who := ask(d.t, d.p, "whoami", map[string]any{}).Structured
	era := "legacy"
	if d.modern {
		era = "modern"
	}
	age, hasAge := who["session_age_seconds"].(float64)
	if who["era"] != era || hasAge == d.modern || age < 0 || who["reactivated"] != (reactivated && !d.modern) {
		d.t.Errorf("whoami = %v", who)
	}
	return who["replica"].(string)
}

// again does what has to be done after a restart. A modern client has to
// subscribe anew: its streams are not resumed.
func (d *dialogue) again() {
	d.t.Helper()
	d.expectItems("hat scarf")
	d.add("gloves")
	d.expectItems("hat scarf gloves")
	if got, err := d.p.read(d.note); err != nil || got != "soup" {
		d.t.Errorf("the note says %q, %v; want soup", got, err)
	}
	d.answerQuestion()
	d.count()
	if d.modern {
		d.subscribe()
	}
	d.hearOfNote("stew")
	d.listTools()
}

func TestClientsGoOnAfterKill9(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			goOnAfterKill9(t, c, serve(t, t.TempDir()))
		})
	}
}

// goOnAfterKill9 has a client begin its dialogue, kills the server while a call
// is running, and has the client go on when the server is back.
func goOnAfterKill9(t *testing.T, c client, s *server) {
	t.Helper()
	d := &dialogue{t: t, p: c.peer(t), modern: c.modern, note: "note:///menu"}
	if err := d.p.connect(s.url, ""); err != nil {
		t.Fatal(err)
	}
	id := d.p.session()
	if (id == "") != c.modern {
		t.Errorf("session id %q in the modern era: %v", id, c.modern)
	}
	d.begin()
	first := d.tellWho(false)

	// A call is running when the server dies. It is lost, which a
	// client that resumes its stream is told, and does not keep the
	// client from going on.
	before := d.p.seen().count(named("progress"))
	cut := make(chan error, 1)
	go func() {
		_, err := d.p.call("countdown", map[string]any{"seconds": 600})
		cut <- err
	}()
	eventually(t, "the call runs", func() bool { return d.p.seen().count(named("progress")) > before })
	s.kill()
	s = s.restart()

	d.again()
	if !c.modern { // a modern client cannot resume, and may wait in vain
		expectUnknownOutcome(t, cut)
	}
	if second := d.tellWho(true); second == first {
		t.Error("the same process answers")
	}
	if got := d.p.session(); got != id {
		t.Error("the client has another session id")
	}
	if _, secret, _ := strings.Cut(id, "."); secret != "" && strings.Contains(s.out.String(), secret) {
		t.Error("the server printed the session's secret")
	}
}

func TestClientsGoOnAfterADeploy(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, t.TempDir())
			d := &dialogue{t: t, p: c.peer(t), modern: c.modern, note: "note:///menu"}
			if err := d.p.connect(s.url, ""); err != nil {
				t.Fatal(err)
			}
			id := d.p.session()
			d.begin()
			s.terminate()
			if status := s.wait(); status != 0 {
				t.Fatalf("exit status %d: %s", status, s.out.String())
			}
			s.restart()
			d.again()
			if got := d.p.session(); got != id {
				t.Error("the client has another session id")
			}
		})
	}
}

// expectUnknownOutcome waits for the error of a call that was running when the
// server died.
func expectUnknownOutcome(t *testing.T, cut <-chan error) {
	t.Helper()
	select {
	case err := <-cut:
		if err == nil || !strings.Contains(err.Error(), "outcome is unknown") {
			t.Errorf("the call that was cut off: %v", err)
		}
	case <-time.After(patience / 2): // before the client gives up by itself
		t.Error("the call that was cut off is still waiting")
	}
}
