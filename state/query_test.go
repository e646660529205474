package state_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestQueryMatch(t *testing.T) {
	r := goldenRecords(t)["full"] // created at day, accessed a minute later, expires after two hours
	user, other, nobody := r.User, "bob", ""
	type query = state.Query
	for name, c := range map[string]struct {
		q    query
		want bool
	}{
		"all":                        {query{}, true},
		"other namespace":            {query{Namespace: "default"}, false},
		"kind":                       {query{Kind: "session"}, true},
		"other kind":                 {query{Kind: "basket"}, false},
		"user":                       {query{User: &user}, true},
		"other user":                 {query{User: &other}, false},
		"no user":                    {query{User: &nobody}, false},
		"owner":                      {query{Owner: r.Owner}, true},
		"other owner":                {query{Owner: "replica-2"}, false},
		"network":                    {query{Address: in("2001:db8::/32")}, true},
		"network with host bits":     {query{Address: in("2001:db8::99/32")}, true},
		"other network":              {query{Address: in("2001:db9::/32")}, false},
		"other family":               {query{Address: in("0.0.0.0/0")}, false},
		"created from":               {query{CreatedFrom: day}, true},
		"created from later":         {query{CreatedFrom: day.Add(1)}, false},
		"created before":             {query{CreatedBefore: day}, false},
		"created before later":       {query{CreatedBefore: day.Add(1)}, true},
		"accessed from":              {query{AccessedFrom: day.Add(time.Minute)}, true},
		"accessed from later":        {query{AccessedFrom: day.Add(time.Minute + 1)}, false},
		"accessed before":            {query{AccessedBefore: day.Add(time.Minute)}, false},
		"accessed before later":      {query{AccessedBefore: day.Add(time.Minute + 1)}, true},
		"expired":                    {query{Expired: true}, false},
		"all of it":                  {query{Kind: "session", User: &user, CreatedFrom: day, Owner: r.Owner}, true},
		"all but one":                {query{Kind: "session", User: &other, CreatedFrom: day, Owner: r.Owner}, false},
		"after and max do not count": {query{After: refOf(t, 0xff, 0xff), Max: 1}, true},
	} {
		if c.q.Namespace == "" {
			c.q.Namespace = r.Namespace
		}
		if got := c.q.Match(&r, day.Add(time.Hour)); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	live, expired := query{Namespace: r.Namespace}, query{Namespace: r.Namespace, Expired: true}
	end := r.Expires()
	if live.Match(&r, end) || !expired.Match(&r, end) || !live.Match(&r, end.Add(-1)) || expired.Match(&r, end.Add(-1)) {
		t.Error("a record is listed as live until its deadline and as expired from then on")
	}
}

func in(prefix string) state.AddressFilter { return state.InPrefix(netip.MustParsePrefix(prefix)) }

func TestSystemKindsAreHiddenUnlessNamed(t *testing.T) {
	r := goldenRecords(t)["full"]
	r.Kind = "_node"
	all, named := state.Query{Namespace: r.Namespace}, state.Query{Namespace: r.Namespace, Kind: "_node"}
	if all.Match(&r, day) || !named.Match(&r, day) {
		t.Error("a system kind is listed unasked or not when asked for")
	}
}

func TestAddressFilter(t *testing.T) {
	var zero state.AddressFilter
	if !zero.Match(netip.Addr{}) || !zero.Match(netip.MustParseAddr("192.0.2.1")) {
		t.Error("the zero filter does not select all")
	}
	if _, some := zero.Prefix(); some {
		t.Error("the zero filter has a prefix")
	}
	v4 := in("192.0.2.0/24")
	for address, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "::1": false,
	} {
		if got := v4.Match(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
	if v4.Match(netip.Addr{}) {
		t.Error("an unknown address is in a network")
	}
}
