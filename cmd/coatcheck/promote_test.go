package main

import (
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// The server of a session is lost. The operator is told what a promotion would
// do, has it done, and the session is there again.
func TestAnOperatorPromotesMirrors(t *testing.T) {
	plain(t)
	servers := natsserver.StartCluster(t, 3)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.Addr())
	}
	url := "nats://" + strings.Join(urls, ",") + "?streams=1&replication=leader"
	s, err := open.Open(t.Context(), url, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := create(t, s, "ann", "session")
	leader := ""
	for start := time.Now(); leader == ""; time.Sleep(10 * time.Millisecond) {
		set, err := state.ReplicaSet(t.Context(), s, state.Key{Namespace: "default", Ref: ref})
		if err == nil && len(set) == 3 && set[1].Behind == 0 && set[2].Behind == 0 {
			leader = set[0].Name
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("the mirrors do not get it: %+v, %v", set, err)
		}
	}
	promote := []string{"store", "promote", "--store=" + url}
	if stdout, stderr, status := command(t, promote...); status != exitOK || stdout != "coatcheck-0: its server answers\n" {
		t.Errorf("while all is well: status %d, %q, %q", status, stdout, stderr)
	}
	for _, server := range servers {
		if server.Name() == leader {
			server.Kill()
		}
	}
	stdout, stderr, status := command(t, promote...)
	if status != exitError || !strings.Contains(stdout, " would take its place, with ") || !strings.Contains(stderr, "write --yes") {
		t.Errorf("the plan: status %d, %q, %q", status, stdout, stderr)
	}
	stdout, stderr, status = command(t, append(promote, "--yes")...)
	if status != exitOK || !strings.Contains(stdout, " takes its place, with ") {
		t.Fatalf("the promotion: status %d, %q, %q", status, stdout, stderr)
	}
	stdout, stderr, status = command(t, "sessions", "show", ref.String(), "--store="+url)
	if status != exitOK || !strings.Contains(stdout, "ann") {
		t.Errorf("the session: status %d, %q, %q", status, stdout, stderr)
	}
	expectMistake(t, "has no mirrors", "store", "promote", "--store=sqlite:x.db")
}

func TestWhatIsPromotedIsDescribed(t *testing.T) {
	for want, p := range map[string]nats.Promotion{
		"s: its server answers": {Stream: "s"},
		"s: its server answers; the server of its mirror s-m1 does not answer":                                        {Stream: "s", Silent: []string{"s-m1"}},
		"s: its server does not answer, and no mirror does: start one of them":                                        {Stream: "s", Lost: true},
		"s: its server does not answer: s-m2 on b takes its place, with 7 messages, the last of 0001-01-01T00:00:00Z": {Stream: "s", Lost: true, Mirror: "s-m2", Server: "b", Messages: 7},
	} {
		if got := describe(p, true); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
