package testkit_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// echo starts a server that says everything again.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// say sends a line through a proxy and returns how the answer ended.
func say(t *testing.T, p *testkit.Proxy, line string, patience time.Duration) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

func TestProxyDisturbsAsItIsTold(t *testing.T) {
	p := testkit.NewProxy(t, echo(t))
	calm := func() {
		t.Helper()
		p.Calm()
		if got, err := say(t, p, "hello", time.Minute); err != nil || got != "hello\n" {
			t.Errorf("a calm proxy: %q, %v", got, err)
		}
	}
	calm()
	p.CutReplies(1)
	if got, err := say(t, p, "hello", time.Minute); err == nil || got == "hello\n" || p.Cuts() != 1 {
		t.Errorf("a cut reply: %q, %v, %d cuts", got, err, p.Cuts())
	}
	calm()
	p.DropReplies()
	if _, err := say(t, p, "hello", 50*time.Millisecond); !os.IsTimeout(err) {
		t.Errorf("a dropped reply: %v", err)
	}
	calm()
	p.DelayReplies(50 * time.Millisecond)
	began := time.Now()
	if _, err := say(t, p, "hello", time.Minute); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a delayed reply: %v after %v", err, time.Since(began))
	}
	calm()
	p.Cut()
	if _, err := say(t, p, "hello", time.Minute); err == nil {
		t.Error("a proxy that is cut answers")
	}
	calm()
}
