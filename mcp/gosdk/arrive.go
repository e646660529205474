package gosdk

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/session"
)

type arrivalKey struct{}

// arrive verifies what a request says of having been forwarded. It returns the
// request with that noted, its client's address in the place of the sender's.
func (h *Handler) arrive(r *http.Request) (*http.Request, bool, error) {
	if h.opts.Cluster == nil {
		return r, false, nil
	}
	f, forwarded, err := h.opts.Cluster.Forwarded(r)
	if err != nil || !forwarded {
		return r, false, err
	}
	r = r.WithContext(context.WithValue(r.Context(), arrivalKey{}, f))
	r.Header = r.Header.Clone()
	r.Header.Del(cluster.Header)
	if f.Client.IsValid() {
		r.RemoteAddr = netip.AddrPortFrom(f.Client, 0).String()
	}
	return r, true, nil
}

// clientOf returns the address that the request came from; zero if that is none.
func clientOf(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap().WithZone("")
}

// arrivalOf returns what the replica has signed that forwarded the request.
func arrivalOf(r *http.Request) (cluster.Forward, bool) {
	f, ok := r.Context().Value(arrivalKey{}).(cluster.Forward)
	return f, ok
}

// cameFrom returns the name of the replica that forwarded the request, or "".
func cameFrom(r *http.Request) string {
	f, _ := arrivalOf(r)
	return f.From
}

// meant reports whether the request may be served for the session: one that was
// forwarded, only for that which it was forwarded for.
func meant(r *http.Request, s *session.Session) bool {
	f, forwarded := arrivalOf(r)
	return !forwarded || f.Ref == s.Ref
}
