package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"
)

// reply is what a server answered, as any client sees it.
type reply struct {
	status int
	header http.Header
	body   string
	proto  string
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`

// send sends a request by hand.
func send(t testing.TB, method, url, body string, headers map[string]string) reply {
	t.Helper()
	return sendWith(t, http.DefaultClient, method, url, body, headers)
}

func sendWith(t testing.TB, client *http.Client, method, url, body string, headers map[string]string) reply {
	t.Helper()
	r, err := try(t.Context(), client, method, url, body, headers)
	if err != nil {
		t.Fatal(err)
	}
	if r.status >= http.StatusBadRequest {
		noted.Check(t, "the answer "+strconv.Itoa(r.status), r.body)
	}
	return r
}

// try sends a request that may fail.
func try(ctx context.Context, client *http.Client, method, url, body string, headers map[string]string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text), resp.Proto}, err
}

// sessionHeaders are those of a request within a session.
func sessionHeaders(session, token string) map[string]string {
	headers := map[string]string{"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	return headers
}

// ping asks for a ping in a session.
func ping(t testing.TB, url, session, token string) reply {
	t.Helper()
	return send(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":7,"method":"ping"}`, sessionHeaders(session, token))
}

// open begins a session by hand and returns its id.
func open(t testing.TB, url, token string) string {
	t.Helper()
	headers := map[string]string{}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	r := send(t, http.MethodPost, url, initialize, headers)
	id := r.header.Get("Mcp-Session-Id")
	if r.status != http.StatusOK || id == "" {
		t.Fatalf("initialize: %d %s", r.status, r.body)
	}
	if r := send(t, http.MethodPost, url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, sessionHeaders(id, token)); r.status != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", r.status, r.body)
	}
	return id
}
