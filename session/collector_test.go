package session_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("::ffff:172.16.0.0/108"),
	netip.MustParsePrefix("2001:db8::/32"),
}

func request(remote string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestClientAddress(t *testing.T) {
	const xff, fwd = "X-Forwarded-For", "Forwarded"
	for name, c := range map[string]struct {
		remote  string
		headers []string
		header  string
		want    string // empty: none
	}{
		"connection":                    {remote: "192.0.2.1:1234", want: "192.0.2.1"},
		"IPv6":                          {remote: "[2001:db9::1]:1234", want: "2001:db9::1"},
		"zone":                          {remote: "[fe80::1%eth0]:1234", want: "fe80::1"},
		"IPv4 in IPv6":                  {remote: "[::ffff:192.0.2.1]:1234", want: "192.0.2.1"},
		"without port":                  {remote: "192.0.2.1", want: "192.0.2.1"},
		"unix socket":                   {remote: "@"},
		"unix socket is not trusted":    {remote: "@", headers: []string{xff, "192.0.2.7"}},
		"header of a stranger":          {remote: "192.0.2.1:1", headers: []string{xff, "203.0.113.5"}, want: "192.0.2.1"},
		"Forwarded of a stranger":       {remote: "192.0.2.1:1", headers: []string{fwd, "for=203.0.113.5"}, want: "192.0.2.1"},
		"header of a proxy":             {remote: "10.0.0.1:1", headers: []string{xff, "203.0.113.5"}, want: "203.0.113.5"},
		"proxy over IPv4 in IPv6":       {remote: "[::ffff:10.0.0.1]:1", headers: []string{xff, "203.0.113.5"}, want: "203.0.113.5"},
		"mapped prefix":                 {remote: "172.16.3.4:1", headers: []string{xff, "203.0.113.5"}, want: "203.0.113.5"},
		"proxy without header":          {remote: "10.0.0.1:1", want: "10.0.0.1"},
		"empty header":                  {remote: "10.0.0.1:1", headers: []string{xff, ""}, want: "10.0.0.1"},
		"rightmost untrusted":           {remote: "10.0.0.1:1", headers: []string{xff, "1.1.1.1, 203.0.113.5, 10.9.9.9"}, want: "203.0.113.5"},
		"many lines are one list":       {remote: "10.0.0.1:1", headers: []string{xff, "1.1.1.1", xff, "203.0.113.5", xff, "10.9.9.9"}, want: "203.0.113.5"},
		"all trusted":                   {remote: "10.0.0.1:1", headers: []string{xff, "10.3.3.3,10.2.2.2"}, want: "10.3.3.3"},
		"garbage left of the client":    {remote: "10.0.0.1:1", headers: []string{xff, "<script>, 203.0.113.5"}, want: "203.0.113.5"},
		"garbage where the client is":   {remote: "10.0.0.1:1", headers: []string{xff, "1.1.1.1, unknown, 10.2.2.2"}, want: "10.2.2.2"},
		"garbage at the end":            {remote: "10.0.0.1:1", headers: []string{xff, "1.1.1.1, x"}, want: "10.0.0.1"},
		"ports and brackets":            {remote: "10.0.0.1:1", headers: []string{xff, "[2001:db9::7]:443, [2001:db8::1], 10.1.1.1:80"}, want: "2001:db9::7"},
		"header's zone and mapping":     {remote: "10.0.0.1:1", headers: []string{xff, "fe80::1%x, ::ffff:10.0.0.2"}, want: "fe80::1"},
		"forwarded":                     {remote: "10.0.0.1:1", headers: []string{fwd, `for=203.0.113.5;proto=https;by=10.0.0.1`}, want: "203.0.113.5"},
		"forwarded, quoted IPv6":        {remote: "10.0.0.1:1", headers: []string{fwd, `for=1.1.1.1, For="[2001:db9::7]:4711", for=10.1.1.1`}, want: "2001:db9::7"},
		"forwarded, unknown":            {remote: "10.0.0.1:1", headers: []string{fwd, `for=1.1.1.1, for=unknown`}, want: "10.0.0.1"},
		"forwarded, obfuscated":         {remote: "10.0.0.1:1", headers: []string{fwd, `for=_hidden`}, want: "10.0.0.1"},
		"forwarded without for":         {remote: "10.0.0.1:1", headers: []string{fwd, `for=1.1.1.1, proto=https`}, want: "10.0.0.1"},
		"forwarded, for twice":          {remote: "10.0.0.1:1", headers: []string{fwd, `for=1.1.1.1;for=2.2.2.2`}, want: "10.0.0.1"},
		"forwarded, client's quote":     {remote: "10.0.0.1:1", headers: []string{fwd, `for="1.1.1.1, for=203.0.113.5`}, want: "203.0.113.5"},
		"forwarded, client's backslash": {remote: "10.0.0.1:1", headers: []string{fwd, `for="\", for="203.0.113.5:80"`}, want: "203.0.113.5"},
		"forwarded, comma in quotes":    {remote: "10.0.0.1:1", headers: []string{fwd, `for=203.0.113.5;host="a,b"`}, want: "203.0.113.5"},
		"forwarded, escaped quote":      {remote: "10.0.0.1:1", headers: []string{fwd, `for=1.1.1.1, for=203.0.113.5;host="a\",b"`}, want: "203.0.113.5"},
		"both agree":                    {remote: "10.0.0.1:1", headers: []string{xff, "203.0.113.5", fwd, "for=203.0.113.5"}, want: "203.0.113.5"},
		"both disagree":                 {remote: "10.0.0.1:1", headers: []string{xff, "203.0.113.5", fwd, "for=1.1.1.1"}, want: "10.0.0.1"},
		"both, one named":               {remote: "10.0.0.1:1", header: "x-forwarded-for", headers: []string{xff, "203.0.113.5", fwd, "for=1.1.1.1"}, want: "203.0.113.5"},
		"both, the other named":         {remote: "10.0.0.1:1", header: "Forwarded", headers: []string{xff, "1.1.1.1", fwd, "for=203.0.113.5"}, want: "203.0.113.5"},
		"only the one not named":        {remote: "10.0.0.1:1", header: "Forwarded", headers: []string{xff, "1.1.1.1"}, want: "10.0.0.1"},
		"long chain of trusted hops":    {remote: "10.0.0.1:1", headers: []string{xff, "1.1.1.1" + strings.Repeat(",10.1.1.1", 1000)}, want: "10.1.1.1"},
		"huge entry":                    {remote: "10.0.0.1:1", headers: []string{xff, strings.Repeat("1", 1<<20) + ",10.1.1.1"}, want: "10.1.1.1"},
		"many quotes":                   {remote: "10.0.0.1:1", headers: []string{fwd, strings.Repeat(`\"`, 1<<19)}, want: "10.0.0.1"},
	} {
		got := session.Collector{TrustedProxies: proxies, Header: c.header}.Collect(request(c.remote, c.headers...)).Address
		want := netip.Addr{}
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestZeroCollectorTrustsNobody(t *testing.T) {
	r := request("10.0.0.1:1", "X-Forwarded-For", "203.0.113.5", "Forwarded", "for=203.0.113.5")
	if got := (session.Collector{}).Collect(r).Address.String(); got != "10.0.0.1" {
		t.Errorf("got %v", got)
	}
}

func TestCollectedTextIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ agent, want string }{
		"plain":         {"agent/1 (x; y)", "agent/1 (x; y)"},
		"none":          {"", ""},
		"long":          {strings.Repeat("a", 5000), strings.Repeat("a", state.MaxAgentBytes)},
		"cut in a rune": {strings.Repeat("é", 700), strings.Repeat("é", state.MaxAgentBytes/2)},
		"odd cut":       {"a" + strings.Repeat("é", 700), "a" + strings.Repeat("é", state.MaxAgentBytes/2-1)},
		"not UTF-8":     {"a\xff\xfeb", "ab"},
		"controls":      {"a\x00b\nc\x1b[31m\u0085d", "abc[31md"},
	} {
		m := session.Collector{}.Collect(request("192.0.2.1:1", "User-Agent", c.agent, "Mcp-Protocol-Version", c.agent))
		if m.UserAgent != c.want {
			t.Errorf("%s: %q", name, m.UserAgent)
		}
		if len(m.ProtocolVersion) > state.MaxNameBytes {
			t.Errorf("%s: version %q", name, m.ProtocolVersion)
		}
	}
	m := session.Collector{}.Collect(request("192.0.2.1:1", "MCP-Protocol-Version", "2025-11-25"))
	if m.ProtocolVersion != "2025-11-25" || m.Capabilities != nil {
		t.Errorf("got %+v", m)
	}
}

func FuzzCollector(f *testing.F) {
	f.Add("10.0.0.1:1", "1.1.1.1, 10.0.0.2", `for="[::1]:80";by=x, for=_a`, "agent")
	f.Add("@", `"\",`, `for="`, "\xff\x00")
	f.Add("[fe80::1%a]:1", ",,,,", ";;==", "é")
	f.Fuzz(func(t *testing.T, remote, xff, forwarded, agent string) {
		for _, header := range []string{"", "Forwarded", "X-Forwarded-For"} {
			r := request(remote, "X-Forwarded-For", xff, "Forwarded", forwarded, "User-Agent", agent, "Mcp-Protocol-Version", agent)
			m := session.Collector{TrustedProxies: proxies, Header: header}.Collect(r)
			if m.Address.Zone() != "" || m.Address.Is4In6() {
				t.Fatalf("address %v", m.Address)
			}
			if !utf8.ValidString(m.UserAgent) || strings.ContainsRune(m.UserAgent, 0) {
				t.Fatalf("agent %q", m.UserAgent)
			}
			// Whatever comes in, a store takes it.
			ref, err := state.RefFromBytes([]byte("seventeen bytes.."))
			if err != nil {
				t.Fatal(err)
			}
			op := state.CreateOp{Idle: 1e9, Lifetime: 1e9, Record: state.Record{Namespace: "n", Kind: "k", Ref: ref, Meta: m}}
			if err := state.Check(op); err != nil {
				t.Fatal(err)
			}
		}
	})
}
