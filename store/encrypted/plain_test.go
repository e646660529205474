package encrypted_test

import (
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
)

func TestPlainRecordsAreAcceptedIfAskedFor(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, encrypted.Options{AcceptPlain: true})
	var keys []state.Key
	for i := range 8 {
		op := creation(t, "alice")
		keys = append(keys, op.Target())
		if i%2 == 0 {
			do(t, r.inner, op)
		} else {
			do(t, r, op)
		}
	}
	for _, key := range keys {
		if got := get(t, r, key); got.User != "alice" || got.Meta.UserAgent != "inspector/1.2" {
			t.Fatalf("got %+v", got)
		}
	}
	user := "alice"
	for _, limit := range []int{0, 1, 3, 8, 9} {
		var last state.Ref
		n := 0
		for rec, err := range r.List(ctx, state.Query{Namespace: namespace, User: &user, Max: limit}) {
			if err != nil || rec.User != user || rec.Ref.Compare(last) <= 0 {
				t.Fatalf("list of at most %d: %+v, %v", limit, rec, err)
			}
			last = rec.Ref
			n++
		}
		if want := min(8, max(limit, 0)); limit > 0 && n != want || limit == 0 && n != 8 {
			t.Errorf("list of at most %d: got %d", limit, n)
		}
	}

	plain := keys[0]
	do(t, r, state.UpdateOp{Key: plain, Version: 1, Data: creation(t, "").Record.Data})
	stored := r.stored(t, plain)
	if len(stored.Sealed) == 0 || len(stored.Data) != 0 || stored.Meta.UserAgent != "" {
		t.Errorf("an update left in clear: %+v", stored)
	}
	if got := get(t, r, plain); got.User != "alice" || got.Meta.UserAgent != "inspector/1.2" || got.Version != 2 {
		t.Errorf("got %+v", got)
	}
	ended := do(t, r, state.DeleteOp{Key: plain, Reason: state.ReasonLogout}).Ended
	if len(ended) != 1 || ended[0].User != "alice" {
		t.Errorf("ended %+v", ended)
	}
}

func TestReencryptSealsPlainRecords(t *testing.T) {
	r := newRig(t, encrypted.Options{AcceptPlain: true})
	op := creation(t, "alice")
	do(t, r.inner, op)
	p, err := r.Reencrypt(t.Context(), encrypted.ReencryptOptions{Namespace: namespace})
	if err != nil || p.Rewritten != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	strict := wrap(t, r.inner, r.ring, encrypted.Options{})
	if got := get(t, strict, op.Target()); got.User != "alice" || string(got.Data["step"]) != "3" {
		t.Errorf("got %+v", got)
	}
}

func TestPlainEventsAreAcceptedIfAskedFor(t *testing.T) {
	r := newRig(t, encrypted.Options{AcceptPlain: true})
	op := creation(t, "alice")
	do(t, r, op)
	append1 := func(s state.EventStore, index int64, text string) {
		t.Helper()
		if err := s.Append(t.Context(), op.Target(), 0, state.EventAppend{Stream: "s", Index: index, Events: [][]byte{[]byte(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	append1(r.inner, 0, `data: {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a long enough text"}]}}`)
	append1(r, 1, "sealed")
	if got, err := r.events(t, op.Target(), "s", 0); err != nil || len(got) != 2 || got[1] != "sealed" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Users that are too long for a token are known where the operation says whom
// it is about, and left out where it does not.
func TestEndsOfLongUsers(t *testing.T) {
	r := newRig(t, encrypted.Options{})
	long := string(make([]byte, encrypted.MaxNamedUser+1))
	first, second := creation(t, long), creation(t, long)
	second.Limit.PerUser = 1
	do(t, r, first)
	if ended := do(t, r, second).Ended; len(ended) != 1 || ended[0].User != long {
		t.Errorf("evicted %+v", ended)
	}
	if got := get(t, r, second.Target()); got.User != long {
		t.Error("another user")
	}
	if ended := do(t, r, state.DeleteOp{Key: second.Target(), Reason: state.ReasonLogout}).Ended; len(ended) != 1 || ended[0].User != "" {
		t.Errorf("deleted %+v", ended)
	}
	short := creation(t, long[1:])
	short.Idle, short.Lifetime = time.Hour, time.Hour
	do(t, r, short)
	if ended := do(t, r, state.DeleteOp{Key: short.Target(), Reason: state.ReasonLogout}).Ended; len(ended) != 1 || ended[0].User != long[1:] {
		t.Errorf("deleted %+v", ended)
	}
}
