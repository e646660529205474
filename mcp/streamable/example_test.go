package streamable_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// An endpoint makes the checks in this order and lets the refusal answer.
func Example() {
	guard := &streamable.Guard{AllowedOrigins: []string{"https://app.example"}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := func() ([]byte, error) {
			if err := guard.Check(r); err != nil {
				return nil, err
			}
			if err := streamable.CheckPOST(r); err != nil {
				return nil, err
			}
			return streamable.ReadBody(w, r, 0)
		}()
		if refusal, ok := err.(*streamable.Refusal); ok {
			refusal.ServeHTTP(w, r)
			return
		}
		message, _ := streamable.Scan(body)
		fmt.Fprintf(w, "%s, id %s", message.Method, message.ID)
	})

	r := httptest.NewRequest("POST", "/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Body)

	r.Header.Set("Origin", "https://evil.example")
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// ping, id 1
	// 403
}
