package session_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestIDReadsBackWhatItReveals(t *testing.T) {
	for _, size := range []int{16, 17, 32, 63, 64} {
		b := newBench(t, session.Policy{SecretBytes: size})
		id := b.create("ann").ID
		got, err := session.ParseID(id.Reveal())
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !got.Equal(id) || got.Ref() != id.Ref() || got.Hash() != id.Hash() {
			t.Errorf("%d bytes: not the same id", size)
		}
		if len(id.Reveal()) > session.MaxIDLength {
			t.Errorf("%d bytes: longer than MaxIDLength", size)
		}
	}
}

func TestParseIDRefusesEverythingElse(t *testing.T) {
	good := newBench(t, session.Policy{}).create("").ID.Reveal()
	ref, secret, _ := strings.Cut(good, ".")
	for name, text := range map[string]string{
		"empty":             "",
		"ref alone":         ref,
		"no secret":         ref + ".",
		"short secret":      ref + ".c2hvcnQ",
		"long secret":       ref + "." + strings.Repeat("A", 87),
		"huge":              good + strings.Repeat("A", 1<<20),
		"padding":           good + "=",
		"newline in secret": ref + "." + secret[:4] + "\n" + secret[4:],
		"newline at end":    good + "\n",
		"space before":      " " + good,
		"upper-case ref":    strings.ToUpper(ref) + "." + secret,
		"other alphabet":    ref + "." + strings.Repeat("+", len(secret)),
		"stray bits":        ref + "." + strings.Repeat("A", 42) + "B",
		"zero ref":          strings.Repeat("0", 28) + "." + secret,
		"no dot":            ref + "_" + secret,
		"NUL":               good[:40] + "\x00" + good[41:],
	} {
		id, err := session.ParseID(text)
		if !errors.Is(err, session.ErrMalformedID) || !id.IsZero() {
			t.Errorf("%s: got %v, %v", name, id, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("")
	f.Add("0123456789abcdefghijklmnopqg.AAAAAAAAAAAAAAAAAAAAAA")
	f.Add(strings.Repeat("0", 27) + "g." + strings.Repeat("A", 22))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := session.ParseID(text)
		if err != nil {
			if !id.IsZero() || err.Error() != session.ErrMalformedID.Error() {
				t.Fatalf("refused with %v, %v", id, err)
			}
			return
		}
		if id.Reveal() != text {
			t.Fatalf("read %q as %q", text, id.Reveal())
		}
		if fmt.Sprint(id) != text[:28]+".[redacted]" {
			t.Fatal("printed in the clear")
		}
	})
}

func TestIDNeverShowsItsSecret(t *testing.T) {
	s := newBench(t, session.Policy{}).create("ann")
	id := s.ID
	secret := id.Reveal()[29:]
	hash := id.Hash()
	// An unexported field: fmt cannot call methods of what stands there.
	type inside struct{ id session.ID }
	show := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%08.3f", "%c", "%U", "%b", "%o"} {
		show[verb] = fmt.Sprintf(verb, id)
		show["&"+verb] = fmt.Sprintf(verb, &id)
		show["inside "+verb] = fmt.Sprintf(verb, inside{id})
		show["slice "+verb] = fmt.Sprintf(verb, []session.ID{id})
		show["session "+verb] = fmt.Sprintf(verb, *s)
		show["&session "+verb] = fmt.Sprintf(verb, s)
	}
	show["String"] = id.String()
	show["GoString"] = id.GoString()
	for name, v := range map[string]any{"id": id, "session": s, "inside": inside{id}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		show["json "+name] = string(text)
	}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(h).Info("x", "id", id, "session", s, "inside", inside{id}, "ids", []session.ID{id})
	}
	show["slog"] = logged.String()

	raw := []byte{}
	for where, text := range show {
		leaks := []string{secret, fmt.Sprintf("%x", hash[:]), fmt.Sprint(hash[:])}
		for _, leak := range leaks {
			if strings.Contains(text, leak) {
				t.Errorf("%s shows the secret: %s", where, text)
			}
		}
		raw = append(raw, text...)
	}
	if !bytes.Contains(raw, []byte(id.Ref().String()+".[redacted]")) {
		t.Error("the ref should show")
	}
}

func TestMarshalledIDIsOfNoUse(t *testing.T) {
	id := newBench(t, session.Policy{}).create("ann").ID
	text, err := id.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.ParseID(string(text)); !errors.Is(err, session.ErrMalformedID) {
		t.Errorf("got %v", err)
	}
	var back session.ID
	raw, _ := json.Marshal(id)
	if json.Unmarshal(raw, &back) == nil || json.Unmarshal([]byte(`"`+id.Reveal()+`"`), &back) == nil || !back.IsZero() {
		t.Error("an id must not come out of JSON")
	}
}

func TestZeroIDOpensNothing(t *testing.T) {
	var zero session.ID
	if zero.Reveal() != "" || !zero.IsZero() || zero.Matches(state.Hash{}) || !zero.Hash().IsZero() {
		t.Error("the zero id is something")
	}
	if zero.String() != "[none]" {
		t.Errorf("prints %q", zero)
	}
	b := newBench(t, session.Policy{})
	if _, err := b.Get(t.Context(), zero); err != session.ErrNotFound {
		t.Errorf("got %v", err)
	}
	if id := b.create("").ID; id.Matches(state.Hash{}) || id.Equal(zero) || !zero.Equal(session.ID{}) {
		t.Error("the zero hash matches")
	}
}

func TestStoreHasOnlyTheHash(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	r, err := b.store.Get(t.Context(), state.Key{Namespace: b.Namespace(), Ref: id.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Secret.Hash != id.Hash() || !r.Secret.Previous.IsZero() {
		t.Error("not the hash")
	}
	if strings.Contains(fmt.Sprintf("%+v", r), id.Reveal()[29:]) {
		t.Error("the secret is stored")
	}
	if sha256.Sum256([]byte(id.Reveal())) == r.Secret.Hash {
		t.Error("the hash is of the secret alone, not of the text")
	}
}

func TestRoutingByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		user := rapid.StringN(1, 40, 120).Draw(rt, "user")
		b := newBench(t, session.Policy{})
		first, second := b.create(user), b.create(user)
		if first.Ref.Routing() != second.Ref.Routing() {
			rt.Fatal("refs of one user have different routing bytes")
		}
	})
	b := newBench(t, session.Policy{MaxPerUser: -1})
	random, spread := map[byte]bool{}, map[byte]bool{}
	for i := range 200 {
		random[b.create("").Ref.Routing()] = true
		spread[b.create(fmt.Sprint("user ", i)).Ref.Routing()] = true
	}
	// 200 draws out of 256 give some 139 different ones.
	if len(random) < 80 || len(spread) < 80 {
		t.Errorf("%d and %d routing bytes in 200 refs", len(random), len(spread))
	}
}

func TestRoutingKeyHidesTheUser(t *testing.T) {
	b := newBench(t, session.Policy{})
	differ := false
	for i := range 8 {
		keyed, err := session.NewManager(b.store, session.Options{RoutingKey: []byte{byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := keyed.Create(t.Context(), session.CreateRequest{User: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		differ = differ || s.Ref.Routing() != b.create("ann").Ref.Routing()
	}
	if !differ {
		t.Error("the key changes nothing")
	}
}

func TestRandomnessThatFails(t *testing.T) {
	b := newBench(t, session.Policy{})
	m, err := session.NewManager(b.store, session.Options{Rand: strings.NewReader("forty bytes are too few for an id, alas!")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(t.Context(), session.CreateRequest{}); err == nil || b.count() != 0 {
		t.Errorf("created with no randomness left: %v", err)
	}
}

// lonely is a source of randomness that may not be read by two at once.
type lonely struct {
	t      *testing.T
	inside atomic.Int32
	n      uint64
}

func (l *lonely) Read(p []byte) (int, error) {
	if l.inside.Add(1) != 1 {
		l.t.Error("read by two at once")
	}
	defer l.inside.Add(-1)
	runtime.Gosched()
	for i := range p {
		l.n++
		p[i] = byte(l.n ^ l.n>>8)
	}
	return len(p), nil
}

func TestInjectedRandomnessIsReadByOneAtATime(t *testing.T) {
	b := newBench(t, session.Policy{})
	m, err := session.NewManager(b.store, session.Options{Rand: &lonely{t: t}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if _, err := m.Create(t.Context(), session.CreateRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
