package telemetry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// Security counts what was refused. Create it with [NewSecurity]; its methods
// are safe for concurrent use.
type Security struct {
	mismatches *prometheus.CounterVec // by kind and what did not fit
	refused    *prometheus.CounterVec // by kind and limit
	auth       *prometheus.CounterVec // by reason
	dropped    prometheus.Counter

	kinds   values
	reasons []string
}

var _ prometheus.Collector = (*Security)(nil)

// NewSecurity returns metrics that are registered with reg. The reasons are all
// that AuthRefused will be called with; others count as [Other].
func NewSecurity(reg prometheus.Registerer, reasons []string) (*Security, error) {
	if reg == nil {
		return nil, errors.New("register security metrics: no registerer")
	}
	s := &Security{
		mismatches: counter("session_binding_mismatches_total", "Requests that did not fit the session whose id they had.", "kind", "what"),
		refused:    counter("sessions_refused_total", "New sessions that a limit refused.", "kind", "limit"),
		auth:       counter("auth_refusals_total", "Requests whose credentials were not accepted.", "reason"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "audit_events_dropped_total", Help: "Events that the audit log had no room for, or could not write.",
		}),
		reasons: reasons,
	}
	if err := reg.Register(s); err != nil {
		return nil, fmt.Errorf("register security metrics: %w", err)
	}
	for _, r := range reasons {
		s.auth.WithLabelValues(r)
	}
	return s, nil
}

// Observe counts an event. It is what session.Options.Observe takes.
func (s *Security) Observe(_ context.Context, e session.Event) {
	switch e.Type {
	case session.EventBindingMismatch:
		s.mismatches.WithLabelValues(s.kinds.bound(e.Kind), known(e.What, session.MismatchPrincipal, session.MismatchAddress, session.MismatchUserAgent)).Inc()
	case session.EventLimitRefused:
		s.refused.WithLabelValues(s.kinds.bound(e.Kind), known(e.What, session.LimitUser, session.LimitTotal, session.LimitRate)).Inc()
	}
}

// AuthRefused counts a request that was not let in.
func (s *Security) AuthRefused(reason string) {
	s.auth.WithLabelValues(known(reason, s.reasons...)).Inc()
}

// AuditDropped counts an event that the audit log does not have.
func (s *Security) AuditDropped() { s.dropped.Inc() }

func known(value string, all ...string) string {
	if slices.Contains(all, value) {
		return value
	}
	return Other
}

// Describe implements [prometheus.Collector].
func (s *Security) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.collectors() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (s *Security) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.collectors() {
		c.Collect(ch)
	}
}

func (s *Security) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.mismatches, s.refused, s.auth, s.dropped}
}
