package state

import (
	"net/netip"
	"strings"
	"time"
)

// An AddressFilter selects by the client's address. The zero value selects
// every record.
type AddressFilter struct{ prefix netip.Prefix }

// InPrefix selects addresses within p; IPv4 addresses mapped into IPv6 count
// as IPv4.
func InPrefix(p netip.Prefix) AddressFilter { return AddressFilter{prefix: p.Masked()} }

// Prefix returns the prefix, and false for the filter that selects all.
func (f AddressFilter) Prefix() (netip.Prefix, bool) { return f.prefix, f.prefix.IsValid() }

// Match reports whether a is selected.
func (f AddressFilter) Match(a netip.Addr) bool {
	return !f.prefix.IsValid() || f.prefix.Contains(a.Unmap())
}

// Match reports whether r is selected at the given time by the store's clock.
// Stores that filter in Go use it; the others must agree with it. After and
// Max are not considered.
func (q *Query) Match(r *Record, now time.Time) bool {
	switch {
	case r.Namespace != q.Namespace,
		q.Kind != "" && r.Kind != q.Kind,
		q.Kind == "" && SystemKind(r.Kind),
		q.User != nil && r.User != *q.User,
		q.Owner != "" && r.Owner != q.Owner,
		!q.Address.Match(r.Meta.Address),
		!within(r.Created, q.CreatedFrom, q.CreatedBefore),
		!within(r.LastAccessed, q.AccessedFrom, q.AccessedBefore):
		return false
	}
	return r.Expired(now) == q.Expired
}

func within(t, from, before time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (before.IsZero() || t.Before(before))
}

// SystemKind reports whether records of the kind are Coatcheck's own and
// hidden unless asked for by name.
func SystemKind(kind string) bool { return strings.HasPrefix(kind, "_") }
