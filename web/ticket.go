package web

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// A carrier is how an id travels.
type carrier int

const (
	byCookie carrier = iota
	byHeader
)

// A ticket is what a request presents. Whatever is no id presents none: a
// client's text is never adopted.
type ticket struct {
	id      session.ID
	carrier carrier
	// withheld says that the browser may have a cookie that it did not send.
	withheld bool
	// stated says that the request carries the session header. Browsers send
	// cookies wherever a page of another site wants them to, but no such header.
	stated bool
}

// read takes the ticket off the request. What goes on to the handler has it no
// more, so that ids get into no log or error of those behind.
func (s *Sessions) read(r *http.Request) (ticket, *http.Request, error) {
	if s.cookie.Insecure && !s.opts.HeaderOnly && !local(r) {
		return ticket{}, nil, errNotLocal
	}
	var (
		t       = ticket{carrier: byHeader}
		text    string
		stated  bool
		stored  bool
		cookies []string
		err     error
	)
	if s.opts.Header != "" {
		if text, stated, err = takeHeader(r.Header, s.opts.Header); err != nil {
			return ticket{}, nil, err
		}
	}
	if !s.opts.HeaderOnly {
		var value string
		if value, cookies, stored, err = s.cookie.take(r.Header["Cookie"]); err != nil {
			return ticket{}, nil, err
		}
		if stored && stated {
			return ticket{}, nil, ErrAmbiguous
		}
		if !stated {
			t.carrier, text = byCookie, value
		}
	}
	t.stated, t.withheld = stated, !stated && !stored && s.withheld(r)
	t.id, _ = session.ParseID(text) // what is malformed is as good as unknown
	return t, s.without(r, stated, stored, cookies), nil
}

// without returns a copy of the request that does not present the session.
func (s *Sessions) without(r *http.Request, stated, stored bool, cookies []string) *http.Request {
	if !stated && !stored {
		return r
	}
	c := new(http.Request)
	*c = *r
	c.Header = make(http.Header, len(r.Header))
	maps.Copy(c.Header, r.Header)
	if stated {
		delete(c.Header, s.opts.Header)
	}
	if stored {
		delete(c.Header, "Cookie")
		if len(cookies) > 0 {
			c.Header["Cookie"] = cookies
		}
	}
	return c
}

// local reports whether a request is of this machine, to this machine: it names
// a loopback host, and arrived at a loopback address.
func local(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	named := host == "localhost" || strings.HasSuffix(host, ".localhost") || loopback(host)
	arrived := true
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && addr.Network() != "unix" {
		at, err := netip.ParseAddrPort(addr.String())
		arrived = err == nil && at.Addr().Unmap().IsLoopback()
	}
	return named && arrived
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
