package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coatcheck-mcp/coatcheck/auth"
	"github.com/coatcheck-mcp/coatcheck/telemetry"
)

// metrics are the process's, in a registry of its own: those of sessions, and
// what happens between the server and its store.
type metrics struct {
	*telemetry.Metrics
	registry *prometheus.Registry
	security *telemetry.Security

	cacheErrors *prometheus.CounterVec // by tier
	touchesLost prometheus.Counter
	groups      prometheus.Counter
	grouped     prometheus.Counter
}

// newMetrics returns metrics of a store with the tiers given.
func newMetrics(tiers []string) (*metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	sessions, err := telemetry.NewMetrics(registry)
	if err != nil {
		return nil, err
	}
	sessions.Expect(sessionKind, tiers...)
	var reasons []string
	for _, r := range auth.Reasons() {
		reasons = append(reasons, string(r))
	}
	security, err := telemetry.NewSecurity(registry, reasons)
	if err != nil {
		return nil, err
	}
	m := &metrics{
		Metrics: sessions, registry: registry, security: security,
		cacheErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "session_cache_errors_total", Help: "Calls of a cache that failed; it was passed by.",
		}, []string{"tier"}),
		touchesLost: counter("session_touches_lost_total", "Touches that were answered before they were stored, and could not be stored."),
		groups:      counter("session_batches_total", "Groups of writes that were stored together."),
		grouped:     counter("session_batched_operations_total", "Writes in those groups."),
	}
	for _, c := range []prometheus.Collector{m.cacheErrors, m.touchesLost, m.groups, m.grouped} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	for _, tier := range tiers {
		m.cacheErrors.WithLabelValues(tier)
	}
	return m, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// group counts a group of writes.
func (m *metrics) group(_, operations int) {
	m.groups.Inc()
	m.grouped.Add(float64(operations))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
