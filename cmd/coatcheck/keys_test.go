package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeysAreGeneratedAndListed(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	stdout, stderr, status := command(t, "keys", "generate", "--key-ring=ring")
	if status != exitOK || !strings.Contains(stdout, "active") {
		t.Fatalf("generate: status %d, %q, %q", status, stdout, stderr)
	}
	info, err := os.Stat("ring")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v; want it for its owner only", info, err)
	}
	stdout, stderr, status = command(t, "keys", "list", "--json", "--key-ring=ring")
	if status != exitOK || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, `"state":"active"`) {
		t.Errorf("list: status %d, %q, %q", status, stdout, stderr)
	}
	expectMistake(t, "exists already", "keys", "generate", "--key-ring=ring")
	expectMistake(t, "--key-ring", "keys", "generate")
	expectMistake(t, "--key-ring", "keys", "list", "--key-ring=absent")
}

// A deployment that began with one key goes on with a ring that has it.
func TestAKeyIsTakenOverIntoARing(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	const key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	file := writeFile(t, "key", key+"\n")
	names := map[string]string{}
	for how, args := range map[string][]string{"flag": {"--encryption-key=" + file}, "variable": nil} {
		if how == "variable" {
			t.Setenv(guideKey, key)
		}
		ring := filepath.Join(t.TempDir(), "ring")
		if _, stderr, status := command(t, append([]string{"keys", "generate", "--key-ring=" + ring}, args...)...); status != exitOK {
			t.Fatalf("%s: status %d, %q", how, status, stderr)
		}
		stdout, _, _ := command(t, "keys", "list", "--key-ring="+ring)
		names[how], _, _ = strings.Cut(stdout, " ")
	}
	if names["flag"] != names["variable"] || !strings.HasPrefix(names["flag"], "one-") {
		t.Errorf("the keys are %v, want the same one", names)
	}
}

func TestAKeyOfAFlagWinsOverOneOfAVariable(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	if _, stderr, status := command(t, "keys", "generate", "--key-ring=ring"); status != exitOK {
		t.Fatalf("status %d, %q", status, stderr)
	}
	t.Setenv(guideKey, "no key at all")
	expectMistake(t, guideKey, "sessions", "list")
	// With a ring it is not looked at, and what is wrong is that there is no store.
	for _, use := range []func() (string, string, int){
		func() (string, string, int) { return command(t, "sessions", "list", "--key-ring=ring") },
		func() (string, string, int) {
			t.Setenv("COATCHECK_KEY_RING", "ring")
			return command(t, "sessions", "list")
		},
	} {
		if _, stderr, status := use(); status != exitError || !strings.Contains(stderr, "there is no store") {
			t.Errorf("status %d, %q; want the ring to be used", status, stderr)
		}
	}
}
