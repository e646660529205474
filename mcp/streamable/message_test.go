package streamable

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestScanFindsTheOutlineOfAMessage(t *testing.T) {
	tests := []struct {
		name, body string
		method, id string
		batch, ok  bool
	}{
		{"call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, "tools/call", "1", false, true},
		{"method first", `{"method":"ping","params":{"a":[1,{"id":7}]},"id":"a,b}"}`, "ping", `"a,b}"`, false, true},
		{"spaces", " \n{ \"id\" : -1.5e3 ,\t\"method\" : \"ping\" }\n", "ping", "-1.5e3", false, true},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "notifications/initialized", "", false, true},
		{"null id", `{"id":null,"method":"x"}`, "x", "", false, true},
		{"response", `{"jsonrpc":"2.0","id":9,"result":{"method":"no"}}`, "", "9", false, true},
		{"quotes in strings", `{"x":"\"method\":\"no\"\\","method":"yes","id":2}`, "yes", "2", false, true},
		{"last key counts", `{"method":"a","method":"b","id":1,"id":2}`, "b", "2", false, true},
		{"escaped method", `{"method":"pi\u006eg","id":1}`, "", "1", false, true},
		{"batch", ` [{"method":"x"}]`, "", "", true, true},
		{"empty object", `{}`, "", "", false, true},
		{"literals", `{"a":true,"b":null,"method":"m"}`, "m", "", false, true},
		{"empty", ``, "", "", false, false},
		{"number", `7`, "", "", false, false},
		{"no value", `{"method":}`, "", "", false, false},
		{"no colon", `{"method" "x"}`, "", "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, ok := Scan([]byte(tt.body))
			if ok != tt.ok || m.Batch != tt.batch || string(m.Method) != tt.method || string(m.ID) != tt.id {
				t.Fatalf("Scan(%s) = method %q, id %q, batch %v, %v", tt.body, m.Method, m.ID, m.Batch, ok)
			}
			if m.Method != nil && !strings.HasPrefix(tt.body[m.MethodAt:], tt.method) {
				t.Errorf("MethodAt %d does not point at the method", m.MethodAt)
			}
		})
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`)
	if n := testing.AllocsPerRun(100, func() { Scan(body) }); n != 0 {
		t.Errorf("Scan allocates %v times", n)
	}
}

// FuzzScan: whatever is valid JSON is read as encoding/json reads it, and
// nothing else makes it panic or hang.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"method":"ping"}`, `{"method":"a\\","id":"\""}`, `[1]`, `{"a":{"b":[1,2,"]"]},"id":{},"method":"x"}`, `{"`, `{"a`, `{"a":`, `{"a":"`, `{"a":[`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m, ok := Scan([]byte(body))
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &want) != nil || want == nil {
			return
		}
		if !ok || m.Batch {
			t.Fatalf("Scan(%q) finds no object", body)
		}
		id := string(want["id"])
		if id == "null" {
			id = ""
		}
		if hasEscapedKey(body) {
			return // a key spelled with escapes is not seen
		}
		if string(m.ID) != id {
			t.Fatalf("Scan(%q): id %q, want %q", body, m.ID, id)
		}
		var method string
		if raw := want["method"]; len(raw) > 0 && raw[0] == '"' && !strings.Contains(string(raw), `\`) {
			method = string(raw[1 : len(raw)-1])
		}
		if string(m.Method) != method {
			t.Fatalf("Scan(%q): method %q, want %q", body, m.Method, method)
		}
	})
}

func hasEscapedKey(body string) bool { return strings.Contains(body, `\u`) }
