package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coatcheck-mcp/coatcheck/telemetry"
)

// metrics are the process's, in a registry of its own.
type metrics struct {
	*telemetry.Metrics
	registry *prometheus.Registry
}

// cacheTier names the cache within the store.
const cacheTier = "l1"

func newMetrics() (*metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m, err := telemetry.NewMetrics(registry)
	if err != nil {
		return nil, err
	}
	m.Expect(sessionKind, cacheTier)
	return &metrics{Metrics: m, registry: registry}, nil
}

// lookup counts a read of the store's cache.
func (m *metrics) lookup(hit bool) { m.Lookup(cacheTier, hit) }

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
