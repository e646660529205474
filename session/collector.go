package session

import (
	"net/http"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Collector makes the metadata of a session from the request that starts it.
// It never fails: what is hostile or not understood is left out or cut. The
// zero value trusts no proxy.
type Collector struct {
	// TrustedProxies are the networks whose forwarding headers are believed.
	// Without any, the address is that of the connection.
	TrustedProxies []netip.Prefix
	// Header names the one header that the trusted proxies set:
	// "X-Forwarded-For", or "Forwarded" (RFC 7239). A proxy passes on what a
	// client sends in the other. Empty: either, but if a request has both and
	// they disagree, neither is believed.
	Header string
}

// Collect returns the client's address, its user agent, cut to what a record
// holds, and the MCP protocol version of the request's header. What the
// client says in the body is for the adapter to add.
func (c Collector) Collect(r *http.Request) state.Metadata {
	return state.Metadata{
		Address:         c.Address(r),
		UserAgent:       cutText(r.UserAgent(), state.MaxAgentBytes),
		ProtocolVersion: cutText(r.Header.Get("Mcp-Protocol-Version"), state.MaxNameBytes),
	}
}

// Address returns the address of the client: that of the connection or, if a
// trusted proxy is at its other end, the rightmost forwarded address that is
// not a trusted proxy's, since only what trusted proxies wrote can be believed. At an
// entry that is not an address it stops at the last one believed. The zone of
// an address is dropped, and IPv4 in IPv6 becomes IPv4. Without any address,
// as on a Unix socket, it is the zero Addr.
func (c Collector) Address(r *http.Request) netip.Addr {
	peer := parseAddress(r.RemoteAddr)
	if !peer.IsValid() || !c.trusted(peer) {
		return peer
	}
	forwardedFor, forwarded := r.Header.Values("X-Forwarded-For"), r.Header.Values("Forwarded")
	switch http.CanonicalHeaderKey(c.Header) {
	case "X-Forwarded-For":
		return c.client(peer, forwardedFor, plainHop)
	case "Forwarded":
		return c.client(peer, forwarded, rfc7239Hop)
	}
	a, b := c.client(peer, forwardedFor, plainHop), c.client(peer, forwarded, rfc7239Hop)
	switch {
	case len(forwarded) == 0 || a == b:
		return a
	case len(forwardedFor) == 0:
		return b
	}
	return peer
}

const (
	// maxHops is how many entries of a forwarding header are read, from the
	// right. Only trusted proxies make a chain grow.
	maxHops = 32
	// maxHopBytes bounds one entry.
	maxHopBytes = 256
)

// client walks the entries from the right, from one trusted hop to the next.
func (c Collector) client(peer netip.Addr, lines []string, parse func(string) netip.Addr) netip.Addr {
	believed := peer
	hops := 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; hops++ {
			var hop string
			hop, rest, more = lastEntry(rest)
			if hops == maxHops || len(hop) > maxHopBytes {
				return believed
			}
			a := parse(strings.TrimSpace(hop))
			if !a.IsValid() {
				return believed
			}
			believed = a
			if !c.trusted(a) {
				return believed
			}
		}
	}
	return believed
}

// lastEntry cuts the last entry off a comma-separated list. Commas in quotes
// do not count. It reads from the right: what a client put in front, an open
// quote for example, cannot reach the entries that proxies added.
func lastEntry(list string) (last, rest string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0 && len(list)-i <= maxHopBytes+1; i-- {
		switch list[i] {
		case '"':
			if !escaped(list, i) {
				quoted = !quoted
			}
		case ',':
			if !quoted {
				return list[i+1:], list[:i], true
			}
		}
	}
	return list, "", false
}

// escaped reports whether an odd number of backslashes stands before i.
func escaped(s string, i int) bool {
	n := 0
	for i > n && s[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// plainHop reads an entry of X-Forwarded-For.
func plainHop(entry string) netip.Addr { return parseAddress(entry) }

// rfc7239Hop reads the "for" of an element of Forwarded; names and "unknown"
// are not addresses.
func rfc7239Hop(element string) netip.Addr {
	var found netip.Addr
	for pair := range strings.SplitSeq(element, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || !strings.EqualFold(name, "for") {
			continue
		}
		if found.IsValid() {
			return netip.Addr{} // said twice
		}
		if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		if found = parseAddress(value); !found.IsValid() {
			return found
		}
	}
	return found
}

// parseAddress reads an address with or without port and brackets.
func parseAddress(text string) netip.Addr {
	if len(text) > maxHopBytes {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		ap, portErr := netip.ParseAddrPort(text)
		a, err = ap.Addr(), portErr
	}
	if err != nil && len(text) > 2 && text[0] == '[' && text[len(text)-1] == ']' {
		a, err = netip.ParseAddr(text[1 : len(text)-1])
	}
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func (c Collector) trusted(a netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// cutText makes s valid UTF-8 without control characters, at most limit bytes
// long.
func cutText(s string, limit int) string {
	if len(s) <= limit && printable(s) {
		return s
	}
	var b strings.Builder
	for _, c := range s[:min(len(s), 4*limit)] {
		if c == utf8.RuneError || unicode.IsControl(c) {
			continue
		}
		if b.Len()+utf8.RuneLen(c) > limit {
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}

// printable reports whether s is what nearly all such texts are: printable
// ASCII, of which nothing is to be cut.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
