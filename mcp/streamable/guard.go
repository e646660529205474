package streamable

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A Guard checks from where a request comes: against DNS rebinding, by which a
// web page reaches a server on the visitor's own machine or network under a
// name of its own. The zero Guard is the strict default. A Guard is not
// changed once in use and may be shared.
type Guard struct {
	// AllowedHosts, if not empty, are the only names under which the server
	// answers, each "host" (any port) or "host:port". Loopback names stay
	// allowed on connections to a loopback address.
	AllowedHosts []string
	// AllowedOrigins are the web origins, "scheme://host[:port]", whose pages
	// may call. "*" allows every origin. The server's own is always allowed.
	AllowedOrigins []string
	// DisableHost and DisableOrigin turn a check off: for servers behind a
	// gateway that makes it.
	DisableHost, DisableOrigin bool
}

// Check returns nil, or a [*Refusal] with status 403.
//
// Host: a connection that arrived at a loopback address must name a loopback
// host (the rule of the official Go SDK), unless the name is in AllowedHosts;
// with AllowedHosts, any other name is refused wherever it arrived.
//
// Origin: a request without one is no browser's and passes. Otherwise it must
// be an allowed origin, or name the same host and port as the request itself.
// The scheme is not compared then, since TLS may end before this server.
func (g *Guard) Check(r *http.Request) error {
	if !g.DisableHost && !g.hostAllowed(r) {
		return Forbidden("Forbidden: invalid Host header")
	}
	if !g.DisableOrigin && !g.originAllowed(r) {
		return Forbidden("Forbidden: invalid Origin header")
	}
	return nil
}

func (g *Guard) hostAllowed(r *http.Request) bool {
	local := arrivedAtLoopback(r)
	if local && isLoopback(r.Host) {
		return true
	}
	if len(g.AllowedHosts) == 0 {
		return !local
	}
	for _, allowed := range g.AllowedHosts {
		if strings.EqualFold(allowed, r.Host) || strings.EqualFold(allowed, hostname(r.Host)) {
			return true
		}
	}
	return false
}

func (g *Guard) originAllowed(r *http.Request) bool {
	values := r.Header["Origin"]
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	origin := values[0]
	for _, allowed := range g.AllowedOrigins {
		if allowed == "*" || strings.EqualFold(allowed, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	return sameAuthority(u.Scheme, u.Host, r.Host)
}

// sameAuthority compares an origin's host and port with the request's Host,
// which leaves out the default port of a scheme that this server may not know.
func sameAuthority(scheme, origin, host string) bool {
	if strings.EqualFold(origin, host) {
		return true
	}
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	return strings.EqualFold(strings.TrimSuffix(origin, port), strings.TrimSuffix(host, port))
}

func arrivedAtLoopback(r *http.Request) bool {
	switch addr := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	case net.Addr:
		return isLoopback(addr.String())
	}
	return false
}

func isLoopback(hostport string) bool {
	host := hostname(hostport)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// hostname returns the host of "host:port" or "host", without brackets.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
