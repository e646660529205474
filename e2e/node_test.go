package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// node is a client in a Node.js process; clients/driver.mjs says how they talk.
type node struct {
	mode  string
	gives time.Duration // for a call, before it gives up; zero: the SDK's own
	in    io.WriteCloser
	log   log
	told  events

	mu      sync.Mutex // guards what follows, and writing to in
	next    int
	waiting map[int]chan answer
	gone    bool
}

type answer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *remote         `json:"error"`
	event
}

func newNode(t testing.TB, script, mode string) peer {
	t.Helper()
	cmd := exec.Command(testkit.Node(t), script)
	cmd.Dir = testkit.Clients(t)
	n := &node{mode: mode, waiting: map[int]chan answer{}}
	cmd.Stderr = &n.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.in = in
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.listen(out)
		_ = cmd.Wait() // it was ended by its input's end or by kill
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error says that it has ended
		<-done
		if t.Failed() && n.log.String() != "" {
			t.Logf("%s said:\n%s", script, n.log.String())
		}
	})
	return n
}

func (n *node) listen(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		noted.NoteIDs(string(line))
		var a answer
		if json.Unmarshal(line, &a) != nil {
			n.log.Write(line)
			continue
		}
		if a.Event != "" {
			n.told.add(a.event)
			continue
		}
		n.mu.Lock()
		ch := n.waiting[a.ID]
		delete(n.waiting, a.ID)
		n.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for _, ch := range n.waiting {
		close(ch)
	}
}

// do has the client do something and decodes the result into into.
func (n *node) do(op string, args map[string]any, into any) error {
	ch, err := n.send(op, args)
	if err != nil {
		return err
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return errors.New("the client's process ended: " + n.log.String())
		}
		if a.Error != nil {
			return a.Error
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(a.Result, into)
	case <-time.After(patience):
		return fmt.Errorf("%s: no answer from the client", op)
	}
}

func (n *node) send(op string, args map[string]any) (<-chan answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return nil, errors.New("the client's process ended: " + n.log.String())
	}
	n.next++
	line := map[string]any{"id": n.next, "op": op}
	for k, v := range args {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	ch := make(chan answer, 1)
	n.waiting[n.next] = ch
	_, err = n.in.Write(append(text, '\n'))
	return ch, err
}

func (n *node) connect(url, token string) error {
	noted.Note(token)
	return n.do("connect", map[string]any{"url": url, "token": token, "mode": n.mode}, nil)
}

func (n *node) session() string {
	var s struct{ Session string }
	if err := n.do("session", nil, &s); err != nil {
		return err.Error()
	}
	return s.Session
}

func (n *node) tools() (names []string, err error) {
	err = n.do("tools", nil, &names)
	return names, err
}

func (n *node) call(tool string, args map[string]any) (r result, err error) {
	line := map[string]any{"name": tool, "arguments": args}
	if n.gives > 0 {
		line["timeout"] = n.gives.Milliseconds()
	}
	err = n.do("call", line, &r)
	return r, err
}

func (n *node) watch(uri string) error { return n.do("watch", map[string]any{"uri": uri}, nil) }

func (n *node) read(uri string) (string, error) {
	var contents []struct{ Text string }
	if err := n.do("read", map[string]any{"uri": uri}, &contents); err != nil {
		return "", err
	}
	if len(contents) != 1 {
		return "", fmt.Errorf("%d contents", len(contents))
	}
	return contents[0].Text, nil
}

func (n *node) terminate() error { return n.do("terminate", nil, nil) }
func (n *node) seen() *events    { return &n.told }
