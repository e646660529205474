// Package bench measures Coatcheck against what a user would take instead. Its
// benchmarks are paired: both sides run in turn within one run, so that a noisy
// machine disturbs them alike, and what is reported is the ratio with its 95 %
// interval.
//
//	go test -run '^$' -bench . -benchtime 1x ./bench
//
// A target is missed only if the whole interval misses it.
package bench
