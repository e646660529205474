package main

import (
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
)

func TestDoctorSaysWhatWouldHappenIfANodeDied(t *testing.T) {
	three := embedded.Stream{Name: "s", Leader: "a", Followers: []string{"b", "c"}, Current: 3, Replicas: 3}
	two, one := three, embedded.Stream{Name: "s", Leader: "a", Current: 1, Replicas: 1}
	two.Current = 2
	led := one
	led.Mirrors = []string{"b", "c"}
	for name, c := range map[string]struct {
		member embedded.Member
		stream embedded.Stream
		result string
		want   string
	}{
		"all are there":      {embedded.Member{Name: "b", Connected: true, Streams: 1}, three, admin.ResultOK, "nothing would be lost"},
		"one is missing":     {embedded.Member{Name: "b", Connected: true, Streams: 1}, two, admin.ResultWarning, "had no majority"},
		"the missing one":    {embedded.Member{Name: "c", Streams: 1, Behind: 1}, two, admin.ResultWarning, "is not connected"},
		"one that is behind": {embedded.Member{Name: "c", Connected: true, Streams: 1, Behind: 1}, two, admin.ResultWarning, "has not yet got all"},
		"alone":              {embedded.Member{Name: "a", Connected: true, Streams: 1, Leads: 1}, one, admin.ResultWarning, "could not be reached until it is back"},
		"with mirrors":       {embedded.Member{Name: "a", Connected: true, Streams: 1, Leads: 1}, led, admin.ResultOK, "coatcheck store promote"},
		"keeps nothing":      {embedded.Member{Name: "d", Connected: true}, two, admin.ResultOK, "keeps 0 of 1 parts"},
	} {
		f := examineNode(&c.member, []embedded.Stream{c.stream})
		if f.Result != c.result || !strings.Contains(f.Detail, c.want) {
			t.Errorf("%s: %s: %s; want %s with %q", name, f.Result, f.Detail, c.result, c.want)
		}
	}
}
