package gosdk

import (
	"fmt"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestSessionsSurviveARestart(t *testing.T) {
	for _, version := range []string{streamable.V20250326, streamable.V20250618, streamable.V20251125} {
		for name, restart := range map[string]func(*world){"drained": (*world).restart, "killed": (*world).kill} {
			t.Run(version+" "+name, func(t *testing.T) {
				w := newWorld(t, onMemory(memory.Options{}))
				p := w.connect(speaking(version))
				id := p.cs.ID()
				p.add("apple")
				before := p.call("about", nil)

				restart(w)
				p.settle()

				got := p.add("pear")
				if fmt.Sprint(got["items"]) != "[apple pear]" || got["reactivated"] != true {
					t.Errorf("basket after restart: %v", got)
				}
				if p.cs.ID() != id {
					t.Error("the session id has changed")
				}
				if after := p.call("about", nil); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Errorf("what the server knows of the client was\n%v, is\n%v", before, after)
				}
			})
		}
	}
}

func TestRestartOnSQLite(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.add("apple")
	w.restart()
	p.add("pear")
	w.kill()
	p.settle()
	if got := p.add(""); fmt.Sprint(got["items"]) != "[apple pear]" {
		t.Errorf("basket after two restarts: %v", got["items"])
	}
	if err := p.cs.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := len(w.now().handler.live.all()); n != 0 {
		t.Errorf("%d live sessions after DELETE", n)
	}
}
