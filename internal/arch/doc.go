// Package arch checks the architecture: lower packages know nothing of higher
// ones, and only the package of an outside system imports its driver. It has
// nothing but a test; what the test allows is in map_test.go, and the reasons
// in docs/architecture.md.
package arch
