package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/coatcheck-mcp/coatcheck/cluster"
)

// nodeMetrics shows what a replica has to do with the others.
type nodeMetrics struct {
	node                                          *cluster.Node
	forwards, received, missed, restarts, notices *prometheus.Desc
}

func newNodeMetrics(node *cluster.Node) *nodeMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &nodeMetrics{
		node:     node,
		forwards: desc("session_forwards_total", "Requests forwarded to the replica in which their session is live.", "result"),
		received: desc("session_forwards_received_total", "Forwarded requests that came.", "result"),
		missed:   desc("session_heartbeats_missed_total", "Heartbeats that the store did not acknowledge."),
		restarts: desc("session_replica_restarts_total", "Times that this replica was taken for gone, and went on under a new name."),
		notices:  desc("session_notices_total", "Notices of changes between replicas.", "result"),
	}
}

// Describe implements prometheus.Collector.
func (m *nodeMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.forwards, m.received, m.missed, m.restarts, m.notices} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *nodeMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.node.Stats()
	show := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	failed := s.Undelivered + s.Lost
	show(m.forwards, s.Forwarded-min(failed, s.Forwarded), "delivered")
	show(m.forwards, s.Undelivered, "undelivered")
	show(m.forwards, s.Lost, "lost")
	show(m.received, s.Accepted, "accepted")
	show(m.received, s.Refused, "refused")
	show(m.missed, s.Missed)
	show(m.restarts, s.Reappeared)
	show(m.notices, s.Published, "published")
	show(m.notices, s.Received, "received")
	show(m.notices, s.Dropped, "dropped")
}
