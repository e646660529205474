package sqlite

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestKillKeepsWhatWasAcknowledged(t *testing.T) {
	rounds := 10
	if testing.Short() || raced {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "state.db")
	l := newLedger()
	for round := range rounds {
		before := l.size()
		killWriter(t, path, l, 40+round*37)
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatalf("round %d: open after kill: %v", round, err)
		}
		if err := l.compare(t.Context(), s); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if l.size() == before {
			t.Errorf("round %d: nothing was acknowledged", round)
		}
	}
	t.Logf("%d writes acknowledged in %d rounds", l.size(), rounds)
}

// killWriter lets another process write until it has acknowledged so many
// writes, kills it, and notes all that it acknowledged.
func killWriter(t *testing.T, path string, l *ledger, after int) {
	t.Helper()
	c := startChild(t, "writer", path)
	for n := 0; c.lines.Scan(); n++ {
		var text string
		var version uint64
		if _, err := fmt.Sscan(c.lines.Text(), &text, &version); err != nil {
			t.Fatalf("read %q: %v", c.lines.Text(), err)
		}
		ref, err := state.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		l.note(ref, version)
		if n == after {
			if err := c.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.wait(); err == nil {
		t.Fatalf("the writer was not killed: %s", c.stderr.String())
	}
}

func TestProcessesMayCreateTheFileAtOnce(t *testing.T) {
	rounds := 4
	if testing.Short() || raced {
		rounds = 1
	}
	for range rounds {
		path := filepath.Join(t.TempDir(), "new", "state.db")
		var children []*child
		for range 4 {
			children = append(children, startChild(t, "opener", path))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s, err := Open(t.Context(), path, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				create(t, s, "x")
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, c := range children {
			if err := c.wait(); err != nil {
				t.Errorf("%v: %s", err, c.stderr.String())
			}
		}
	}
}
