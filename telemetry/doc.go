// Package telemetry turns what happens to sessions into Prometheus metrics: the
// six of the session management guide, under its names.
//
//	sessions_created_total{kind}            sessions created
//	sessions_destroyed_total{kind,reason}   sessions that ended, however
//	session_duration_seconds{kind}          age of a session at its end
//	session_size_bytes{kind}                size of a session at create and update
//	session_cache_hits_total{tier}          reads that a cache answered
//	session_cache_misses_total{tier}        reads that it did not
//
// [Security] counts what was refused: credentials, limits, bindings.
//
// Each process counts what its own operations caused, so sums over all
// processes are right. No label holds anything that clients or users can
// choose: a value beyond what is known, or beyond the first [MaxValues] of a
// label, is "other", so the number of series is bounded.
//
// Wire it by giving [Metrics.Observe] to session.Options and [Metrics.Lookup]
// to the OnLookup of stores and caches.
package telemetry
