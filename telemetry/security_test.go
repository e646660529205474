package telemetry_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/telemetry"
)

func TestSecurityCountsWhatWasRefused(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := telemetry.NewSecurity(reg, []string{"expired", "issuer"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []session.Event{
		{Type: session.EventBindingMismatch, Kind: "session", What: session.MismatchPrincipal},
		{Type: session.EventBindingMismatch, Kind: "session", What: "made up"},
		{Type: session.EventLimitRefused, Kind: "session", What: session.LimitRate},
		{Type: session.EventCreated, Kind: "session"},
	} {
		s.Observe(t.Context(), e)
	}
	s.AuthRefused("expired")
	s.AuthRefused("of whatever kind")
	s.AuditDropped()
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range got {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			counts[key] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"session_binding_mismatches_total session principal": 1,
		"session_binding_mismatches_total session other":     1,
		"sessions_refused_total session rate":                1,
		"auth_refusals_total expired":                        1,
		"auth_refusals_total issuer":                         0,
		"auth_refusals_total other":                          1,
		"audit_events_dropped_total":                         1,
	}
	for key, n := range want {
		if got, ok := counts[key]; !ok || got != n {
			t.Errorf("%s: %v, want %v", key, got, n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("got %v", counts)
	}
	if _, err := telemetry.NewSecurity(reg, nil); err == nil {
		t.Error("registered twice")
	}
}
