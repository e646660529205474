package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestKeysOfASessionAreBounded(t *testing.T) {
	b := newBench(t, session.Policy{})
	many := map[string]json.RawMessage{}
	for i := range session.MaxKeys + 1 {
		many[fmt.Sprintf("k%d", i)] = json.RawMessage(`1`)
	}
	var bound *state.BoundError
	if _, err := b.Create(t.Context(), session.CreateRequest{Data: many}); !errors.As(err, &bound) || bound.Max != session.MaxKeys {
		t.Errorf("create: %v", err)
	}
	delete(many, "k0")
	s, err := b.Create(t.Context(), session.CreateRequest{User: "ann", Data: many})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set(t.Context(), s.ID, "k0", 1); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("one key more: %v", err)
	}
	if _, err := b.UpdateRef(t.Context(), s.Ref, func(s *session.Session) error { return s.Set("k0", 1) }); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("one key more, by ref: %v", err)
	}
	if len(b.get(s.ID).Data) != session.MaxKeys {
		t.Error("a refused update changed something")
	}
}

// What is noted at sign-in and regeneration has room in every session.
func TestAFullSessionCanBeSignedInToAndRegenerated(t *testing.T) {
	b := newBench(t, session.Policy{RegenerateInterval: time.Hour})
	s, err := b.SignIn(t.Context(), session.ID{}, session.SignInRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(n int) error { return b.Set(t.Context(), s.ID, "k", strings.Repeat("x", n)) }
	var bound *state.BoundError
	if err := fill(session.MaxContentBytes); !errors.As(err, &bound) || bound.Max != session.MaxContentBytes {
		t.Fatalf("over the bound: %v", err)
	}
	if err := fill(session.MaxContentBytes - (bound.Size - bound.Max)); err != nil {
		t.Fatalf("at the bound: %v", err)
	}
	var methods []string
	for i := range 16 {
		methods = append(methods, strings.Repeat("m", 62)+fmt.Sprintf("%02d", i))
	}
	s, err = b.SignIn(t.Context(), s.ID, session.SignInRequest{User: "ann", Authentication: session.Authentication{Methods: methods}})
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	if s, err = b.Regenerate(t.Context(), s.ID, time.Minute); err != nil {
		t.Fatalf("regenerate: %v", err)
	}
	if len(b.get(s.ID).AuthMethods()) != 16 {
		t.Error("the methods are not noted")
	}
}

func begin(b *bench, address string) error {
	_, err := b.Create(b.t.Context(), session.CreateRequest{Metadata: state.Metadata{Address: netip.MustParseAddr(address)}})
	return err
}

func TestNewSessionsPerAddressAreBounded(t *testing.T) {
	b := newBench(t, session.Policy{NewPerAddress: 2})
	burst := func(address string) int {
		n := 0
		for begin(b, address) == nil {
			n++
		}
		return n
	}
	if n := burst("192.0.2.1"); n != 20 {
		t.Errorf("%d at once, want ten seconds' worth", n)
	}
	var rate *session.RateError
	if err := begin(b, "192.0.2.1"); !errors.As(err, &rate) || !errors.Is(err, session.ErrLimit) || rate.After != 500*time.Millisecond {
		t.Errorf("got %v", err)
	}
	if events := b.journal.of(session.EventLimitRefused); len(events) != 2 || events[0].What != session.LimitRate ||
		events[0].Address != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("events %+v", events)
	}
	b.clock.Advance(rate.After)
	if n := burst("192.0.2.1"); n != 1 {
		t.Errorf("%d after the time that was said", n)
	}
	if n := burst("192.0.2.2"); n != 20 {
		t.Errorf("%d of a neighbour", n)
	}
	// A network of IPv6 counts as one.
	if n := burst("2001:db8::1"); n != 20 {
		t.Errorf("%d of IPv6", n)
	}
	if n := burst("2001:db8::2"); n != 0 {
		t.Errorf("%d of another address of the same network", n)
	}
	if n := burst("2001:db8:0:1::1"); n != 20 {
		t.Errorf("%d of another network", n)
	}
	// Nor are those limited that come from nowhere, such as baskets.
	for range 100 {
		b.create("")
	}
	b.clock.Advance(time.Hour)
	if n := burst("192.0.2.1"); n != 20 {
		t.Errorf("%d after an hour", n)
	}
}

func TestWhichLimitRefused(t *testing.T) {
	for want, p := range map[string]session.Policy{
		session.LimitUser:  {MaxPerUser: 1, RefuseOverLimit: true},
		session.LimitTotal: {MaxTotal: 1, MaxPerUser: -1},
	} {
		b := newBench(t, p)
		b.create("ann")
		if _, err := b.Create(t.Context(), session.CreateRequest{User: "ann"}); !errors.Is(err, session.ErrLimit) {
			t.Errorf("%s: %v", want, err)
		}
		if events := b.journal.of(session.EventLimitRefused); len(events) != 1 || events[0].What != want {
			t.Errorf("%s: %+v", want, events)
		}
	}
}

// nowhere refuses all that it is given, so that nothing but the limit of
// addresses can grow.
type nowhere struct{ state.Store }

func (nowhere) Apply(_ context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	for i := range results {
		results[i].Err = state.ErrUnavailable
	}
	return results
}

func TestAddressesInAnyNumberTakeNoMemory(t *testing.T) {
	m, err := session.NewManager(nowhere{}, session.Options{Policy: session.Policy{NewPerAddress: 10}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	flood := func(from, to uint32) {
		for i := from; i < to; i++ {
			address := netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
			_, _ = m.Create(ctx, session.CreateRequest{Metadata: state.Metadata{Address: address}})
		}
	}
	flood(0, 50_000)
	before := heap()
	flood(50_000, 250_000)
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("memory grew by %d KiB", grown>>10)
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
