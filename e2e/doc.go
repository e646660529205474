// Package e2e holds no code but tests: they drive the coatcheck binary, in
// processes that are really killed, with clients that others wrote: both
// TypeScript SDKs, the Go SDK and the official conformance suite. The npm
// packages are in clients; "make test" installs them.
package e2e
