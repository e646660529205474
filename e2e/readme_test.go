package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// fromClone is how README.md runs the program: in a clone of the repository.
const fromClone = "go run ./cmd/coatcheck "

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// The three commands of README.md make a cluster as they stand there, in a
// folder with nothing in it. A session is used through any of them, and is there
// when one is killed, and when all are.
func TestTheClusterOfTheReadme(t *testing.T) {
	t.Parallel()
	commands, doctor := readmeCluster(t)
	if len(commands) != 3 {
		t.Fatalf("README.md has %d commands with cluster:, want 3: %q", len(commands), commands)
	}
	dir, replicas := t.TempDir(), make([]*server, 3)
	start := func() {
		t.Helper()
		var all sync.WaitGroup
		for i, command := range commands {
			if replicas[i] == nil {
				all.Go(func() {
					replicas[i] = startProgram(t, "sh", []string{"-c", "cd '" + dir + "' && exec '" + executable + "' " + command}, nil)
				})
			}
		}
		all.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	start()
	for i, s := range replicas {
		if !strings.Contains(commands[i], strings.TrimPrefix(s.admin, "http://")) {
			t.Errorf("%q serves at %s", commands[i], s.admin)
		}
	}
	session := open(t, replicas[0].url, "")
	var want []string
	putThrough := func(s *server, item string) {
		t.Helper()
		eventually(t, item+" is taken", func() bool { return put(t, s.url, session, item) })
		want = append(want, item)
	}
	expect := func(what string, from ...*server) {
		t.Helper()
		for _, s := range from {
			if got := basketOf(t, s.url, session); !slices.Equal(slices.Compact(got), want) {
				t.Errorf("%s: the basket has %v, want %v", what, got, want)
			}
		}
	}
	for i, item := range []string{"hat", "scarf", "coat"} {
		putThrough(replicas[i], item)
	}
	expect("through any of them", replicas...)

	replicas[0].kill()
	putThrough(replicas[1], "gloves")
	expect("one is killed", replicas[1:]...)
	replicas[0] = nil
	start()
	eventually(t, "the one is back", func() bool { return ping(t, replicas[0].url, session, "").status == http.StatusOK })
	expect("it is started again", replicas...)

	for i, s := range replicas {
		s.kill()
		replicas[i] = nil
	}
	start()
	putThrough(replicas[2], "umbrella")
	expect("all were killed", replicas...)

	said, stderr, status := coatcheck(t, strings.Fields(doctor)...)
	for _, node := range []string{"a", "b", "c"} {
		if !strings.Contains(said, node+" keeps 8 of 8 parts") || !strings.Contains(said, "if it died") {
			t.Errorf("%s: status %d, %s%s; want it to tell of node %s", doctor, status, said, stderr, node)
		}
	}
}

// readmeCluster returns the commands of README.md that start replicas which keep
// the sessions themselves, and the one that asks them. Their ports are others if
// somebody on this machine uses them.
func readmeCluster(t *testing.T) (commands []string, doctor string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	own := string(text)
	var ours []string
	for line := range strings.Lines(own) {
		if strings.HasPrefix(line, fromClone) && strings.Contains(line, "cluster:?") {
			ours = append(ours, loopback.FindAllString(line, -1)...)
		}
	}
	slices.Sort(ours)
	for _, address := range slices.Compact(ours) {
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			continue
		}
		own = strings.ReplaceAll(own, address, testkit.Addresses(t, 1)[0])
	}
	for line := range strings.Lines(own) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), fromClone)
		if ok && strings.Contains(command, "cluster:?") {
			commands = append(commands, command)
		}
	}
	_, rest, ok := strings.Cut(own, "`"+fromClone+"doctor ")
	rest, _, ends := strings.Cut(rest, "`")
	if !ok || !ends {
		t.Fatal("README.md does not say how to ask doctor")
	}
	return commands, "doctor " + rest
}
