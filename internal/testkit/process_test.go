package testkit_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

func TestAProcessRunsAgainAfterItWasKilled(t *testing.T) {
	dir := t.TempDir()
	p := testkit.NewProcess(t, dir, "sh", "-c", `echo "in $PWD"; echo and on stderr >&2; exec sleep 600`)
	p.Kill() // does nothing
	for range 2 {
		if p.Runs() {
			t.Fatal("it runs before it was started")
		}
		p.Run()
		testkit.Eventually(t, "write", func() error {
			if out := p.Output(); out != "in "+dir+"\nand on stderr" {
				return errOutput(out)
			}
			return nil
		})
		if !p.Runs() {
			t.Error("it does not run")
		}
		p.Kill()
	}
}

type errOutput string

func (e errOutput) Error() string { return "it wrote " + strconv.Quote(string(e)) }

func TestASuspendedProcessAnswersWhenItIsResumed(t *testing.T) {
	p := testkit.NewProcess(t, t.TempDir(), "sh", "-c", `i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done`)
	p.Run()
	defer p.Kill()
	testkit.Eventually(t, "write", func() error {
		if !strings.Contains(p.Output(), "\n") {
			return errOutput(p.Output())
		}
		return nil
	})
	p.Suspend()
	p.Resume()
	before := p.Output()
	testkit.Eventually(t, "go on", func() error {
		if p.Output() == before {
			return errOutput(p.Output())
		}
		return nil
	})
}
