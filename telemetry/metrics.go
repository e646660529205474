package telemetry

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Metrics counts sessions. Create it with [NewMetrics]; its methods are safe
// for concurrent use.
type Metrics struct {
	created   *prometheus.CounterVec   // by kind
	destroyed *prometheus.CounterVec   // by kind and reason
	hits      *prometheus.CounterVec   // by tier
	misses    *prometheus.CounterVec   // by tier
	duration  *prometheus.HistogramVec // by kind
	size      *prometheus.HistogramVec // by kind

	kinds, tiers values
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics returns metrics that are registered with reg. It fails if reg has
// any of their names already; nothing is registered then.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	if reg == nil {
		return nil, errors.New("register session metrics: no registerer")
	}
	m := &Metrics{
		created:   counter("sessions_created_total", "Sessions created.", "kind"),
		destroyed: counter("sessions_destroyed_total", "Sessions that ended, by logout, expiry, eviction, revocation or otherwise.", "kind", "reason"),
		hits:      counter("session_cache_hits_total", "Reads of a session that a cache answered.", "tier"),
		misses:    counter("session_cache_misses_total", "Reads of a session that a cache did not answer.", "tier"),
		duration:  histogram("session_duration_seconds", "Time from the creation of a session to its end.", durationBuckets(), "kind"),
		size:      histogram("session_size_bytes", "Size of a session's user, metadata and data, at create and update.", sizeBuckets(), "kind"),
	}
	if err := reg.Register(m); err != nil {
		return nil, fmt.Errorf("register session metrics: %w", err)
	}
	return m, nil
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// durationBuckets go from a request to the default absolute lifetime, with the
// default idle timeout among them.
func durationBuckets() []float64 {
	return []float64{1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400}
}

// sizeBuckets go up to what a record may hold.
func sizeBuckets() []float64 {
	return prometheus.ExponentialBuckets(64, 4, 7) // 64 bytes to state.MaxRecordBytes
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.created, m.destroyed, m.hits, m.misses, m.duration, m.size}
}

// Expect makes the series of a kind of session and of the tiers of its caches
// exist, at zero, so that a scrape before the first session shows them and
// rates begin where they should.
func (m *Metrics) Expect(kind string, tiers ...string) {
	kind = m.kinds.bound(kind)
	m.created.WithLabelValues(kind)
	m.duration.WithLabelValues(kind)
	m.size.WithLabelValues(kind)
	for _, r := range reasons {
		m.destroyed.WithLabelValues(kind, string(r))
	}
	for _, tier := range tiers {
		tier = m.tiers.bound(tier)
		m.hits.WithLabelValues(tier)
		m.misses.WithLabelValues(tier)
	}
}

// Observe counts an event. It is what session.Options.Observe takes.
func (m *Metrics) Observe(_ context.Context, e session.Event) {
	switch e.Type {
	case session.EventCreated:
		kind := m.kinds.bound(e.Kind)
		m.created.WithLabelValues(kind).Inc()
		m.size.WithLabelValues(kind).Observe(float64(e.Size))
	case session.EventUpdated:
		m.size.WithLabelValues(m.kinds.bound(e.Kind)).Observe(float64(e.Size))
	case session.EventEnded:
		kind := m.kinds.bound(e.Kind)
		m.destroyed.WithLabelValues(kind, boundReason(e.Reason)).Inc()
		m.duration.WithLabelValues(kind).Observe(e.Age.Seconds())
	}
}

// Lookup counts a read that the cache of a tier ("l1", say) answered or not.
func (m *Metrics) Lookup(tier string, hit bool) {
	tier = m.tiers.bound(tier)
	if hit {
		m.hits.WithLabelValues(tier).Inc()
		return
	}
	m.misses.WithLabelValues(tier).Inc()
}

// reasons are the values of the label of that name, besides [Other].
var reasons = [...]state.Reason{
	state.ReasonLogout, state.ReasonIdle, state.ReasonAbsolute, state.ReasonEvicted, state.ReasonRevoked,
	state.ReasonBinding, state.ReasonMigrated, state.ReasonReplaced, state.ReasonFailed,
}

func boundReason(r state.Reason) string {
	for _, known := range reasons {
		if r == known {
			return string(r)
		}
	}
	return Other
}
