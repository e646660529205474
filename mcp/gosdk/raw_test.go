package gosdk

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// raw speaks HTTP to the server, for what no client library sends.
type raw struct {
	t      testing.TB
	url    string
	client *http.Client
	header http.Header // of every request
}

func (w *world) raw() *raw {
	tr := &http.Transport{}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &raw{t: w.t, url: w.web.URL, client: &http.Client{Transport: tr}, header: http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/json, text/event-stream"},
	}}
}

// with returns a copy that sends the header too.
func (c *raw) with(name, value string) *raw {
	d := *c
	d.header = c.header.Clone()
	d.header.Set(name, value)
	return &d
}

// A reply is a response that has been read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (c *raw) open(method, body string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(testContext(c.t), method, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = c.header
	if host := c.header.Get("X-Host"); host != "" {
		r.Host = host
	}
	res, err := c.client.Do(r)
	if err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	return res
}

func (c *raw) do(method, body string) reply {
	c.t.Helper()
	res := c.open(method, body)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s: read: %v", method, err)
	}
	return reply{res.StatusCode, res.Header, string(data)}
}

func (c *raw) post(body string) reply {
	c.t.Helper()
	return c.do(http.MethodPost, body)
}

func initializeBody(version string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`, version)
}

func callBody(id any, tool, args string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%v,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, args)
}

const initializedBody = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

const pingBody = `{"jsonrpc":"2.0","id":"p","method":"ping"}`

// begin starts a session, and returns a copy that speaks for it.
func (c *raw) begin(version string) *raw {
	c.t.Helper()
	got := c.post(initializeBody(version))
	id := got.header.Get("Mcp-Session-Id")
	if got.status != 200 || id == "" {
		c.t.Fatalf("initialize: %d %s", got.status, got.body)
	}
	s := c.with("Mcp-Session-Id", id)
	if version >= streamable.V20250618 {
		s = s.with("MCP-Protocol-Version", version)
	}
	if got := s.post(initializedBody); got.status != 202 {
		c.t.Fatalf("initialized: %d %s", got.status, got.body)
	}
	return s
}

// An sse is an open event stream.
type sse struct {
	res   *http.Response
	lines chan string // closed at the end of the stream
}

func (c *raw) stream() *sse {
	c.t.Helper()
	return c.listen(c.open(http.MethodGet, ""))
}

func (c *raw) listen(res *http.Response) *sse {
	s := &sse{res: res, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		in := bufio.NewScanner(res.Body)
		in.Buffer(nil, 8<<20)
		for in.Scan() {
			if in.Text() != "" {
				s.lines <- in.Text()
			}
		}
	}()
	c.t.Cleanup(func() {
		_ = res.Body.Close()
		for range s.lines {
		}
	})
	return s
}

// next returns the next line with the prefix, without it; false at the end.
func (s *sse) next(prefix string) (string, bool) {
	for line := range s.lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest, true
		}
	}
	return "", false
}

// ends reads to the end of the stream.
func (s *sse) ends() {
	for range s.lines {
	}
}
