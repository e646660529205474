package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// sealedStore makes a ring and a store with n records that it sealed.
func sealedStore(t *testing.T, n int) (ring, store string) {
	t.Helper()
	dir := t.TempDir()
	ring, url := dir+"/ring", "sqlite:"+dir+"/x.db"
	if _, stderr, status := command(t, "keys", "generate", "--key-ring="+ring); status != exitOK {
		t.Fatalf("generate: %s", stderr)
	}
	keys, err := keyring.Open(t.Context(), ring, keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := open.Open(t.Context(), url, open.Options{Ring: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		create(t, s, fmt.Sprintf("user-%d", i), "session")
	}
	create(t, s, "", "_node") // what the system keeps is sealed, too
	return "--key-ring=" + ring, "--store=" + url
}

func create(t *testing.T, s state.Store, user, kind string) state.Ref {
	t.Helper()
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := state.Record{Namespace: "default", Kind: kind, Ref: ref, User: user}
	if _, err := state.Do(t.Context(), s, state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return ref
}

// keyStates returns the states of a ring's keys, oldest first.
func keyStates(t *testing.T, ring string) string {
	t.Helper()
	keys, err := keyring.Open(t.Context(), strings.TrimPrefix(ring, "--key-ring="), keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, k := range keys.Keys() {
		states = append(states, string(k.State))
	}
	return strings.Join(states, " ")
}

// uses counts the records sealed with each key.
func uses(t *testing.T, ring, store string) map[string]int {
	t.Helper()
	s, err := open.Open(t.Context(), strings.TrimPrefix(store, "--store="), open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := map[string]int{}
	for _, kind := range []string{"", "_node"} {
		for r, err := range s.List(t.Context(), state.Query{Namespace: "default", Kind: kind}) {
			if err != nil {
				t.Fatal(err)
			}
			id, sealed := encrypted.KeyID(&r)
			if !sealed {
				t.Errorf("%v is in clear", r.Ref)
			}
			n[id]++
		}
	}
	return n
}

func TestRotationSealsEverythingWithTheNewKey(t *testing.T) {
	plain(t)
	ring, store := sealedStore(t, 150)
	stdout, stderr, status := command(t, "keys", "rotate", ring, store, "--settle=1ms")
	if status != exitOK || !strings.Contains(stdout, "151 records") || !strings.Contains(stderr, "keys revoke") {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	if got := keyStates(t, ring); got != "retired active" {
		t.Errorf("the keys are %s", got)
	}
	if n := uses(t, ring, store); len(n) != 1 {
		t.Errorf("keys in use: %v", n)
	}
	list, stderr, status := command(t, "sessions", "list", "--json", ring, store)
	if status != exitOK || strings.Count(list, "\n") != 150 {
		t.Errorf("list: status %d, %d lines, %s", status, strings.Count(list, "\n"), stderr)
	}

	// The next one revokes what nothing uses.
	if _, stderr, status := command(t, "keys", "rotate", ring, store, "--settle=1ms", "--revoke"); status != exitOK {
		t.Fatalf("again: status %d, %q", status, stderr)
	}
	if got := keyStates(t, ring); got != "revoked revoked active" {
		t.Errorf("the keys are %s", got)
	}
	if list, stderr, status := command(t, "sessions", "list", "--json", ring, store); status != exitOK || strings.Count(list, "\n") != 150 {
		t.Errorf("list: status %d, %d lines, %s", status, strings.Count(list, "\n"), stderr)
	}
}

// cutOff runs a command until its standard error has the text, and interrupts
// it then.
func cutOff(t *testing.T, at string, args ...string) (stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut output
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, &out, &errOut) }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(errOut.String(), at); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", at, &errOut)
		}
	}
	cancel()
	select {
	case status = <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	return errOut.String(), status
}

func TestAnInterruptedRotationIsResumed(t *testing.T) {
	plain(t)
	for _, c := range []struct{ when, at, flag, left string }{
		{"before the key is active", "until every server knows", "--settle=1h", "active created"},
		{"while servers hear of it", "until every server uses", "--settle=2s", "retired active"},
		{"between records", "looked at", "--settle=1ms", "retired active"},
	} {
		t.Run(c.when, func(t *testing.T) {
			t.Parallel()
			ring, store := sealedStore(t, 200)
			stderr, status := cutOff(t, c.at, "keys", "rotate", ring, store, c.flag, "--pause=1h")
			if status != exitError || !strings.Contains(stderr, "--resume") {
				t.Fatalf("status %d, %q", status, stderr)
			}
			if got := keyStates(t, ring); got != c.left {
				t.Errorf("the keys are %s, want %s", got, c.left)
			}
			if list, stderr, status := command(t, "sessions", "list", "--json", ring, store); status != exitOK || strings.Count(list, "\n") != 200 {
				t.Errorf("list in between: status %d, %d lines, %s", status, strings.Count(list, "\n"), stderr)
			}
			if _, stderr, status := command(t, "keys", "rotate", "--resume", ring, store, "--settle=1ms"); status != exitOK {
				t.Fatalf("resume: status %d, %q", status, stderr)
			}
			if got := keyStates(t, ring); got != "retired active" {
				t.Errorf("the keys are %s", got)
			}
			if n := uses(t, ring, store); len(n) != 1 {
				t.Errorf("keys in use: %v", n)
			}
		})
	}
}

func TestAKeyInUseIsNotRevoked(t *testing.T) {
	plain(t)
	ring, store := sealedStore(t, 3)
	keys, err := keyring.Open(t.Context(), strings.TrimPrefix(ring, "--key-ring="), keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	old := keys.Active().ID()
	if _, err := keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := command(t, "keys", "revoke", old, ring, store)
	if status != exitError || !strings.Contains(stderr, "4 records") || keyStates(t, ring) != "retired active" {
		t.Errorf("status %d, %q, %s", status, stderr, keyStates(t, ring))
	}
	if _, stderr, status := command(t, "keys", "rotate", "--resume", ring, store, "--settle=1ms"); status != exitOK {
		t.Fatal(stderr)
	}
	if stdout, stderr, status := command(t, "keys", "revoke", old, ring, store); status != exitOK || keyStates(t, ring) != "revoked active" {
		t.Errorf("status %d, %q %q", status, stdout, stderr)
	}
	expectMistake(t, "keys list", "keys", "revoke", "nonsense", ring, store)
}

func TestARingAloneIsRotatedWhereThereIsNoStore(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	if _, stderr, status := command(t, "keys", "generate", "--key-ring=ring"); status != exitOK {
		t.Fatal(stderr)
	}
	if stdout, stderr, status := command(t, "keys", "rotate", "--prepare", "--key-ring=ring"); status != exitOK || keyStates(t, "ring") != "active created" {
		t.Errorf("prepare: status %d, %q, %q, %s", status, stdout, stderr, keyStates(t, "ring"))
	}
	stdout, stderr, status := command(t, "keys", "rotate", "--key-ring=ring", "--settle=1ms")
	if status != exitOK || !strings.Contains(stderr, "only the ring") || keyStates(t, "ring") != "retired active" {
		t.Errorf("status %d, %q, %q, %s", status, stdout, stderr, keyStates(t, "ring"))
	}
	if _, stderr, status := command(t, "keys", "rotate", "--key-ring=ring", "--store=sqlite:absent.db"); status != exitError || keyStates(t, "ring") != "retired active" {
		t.Errorf("with a store that is not there: status %d, %q, %s", status, stderr, keyStates(t, "ring"))
	}
}
