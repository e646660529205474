// Package state defines what Coatcheck keeps and the contract of whatever
// keeps it.
//
// A [Record] is the state of one session, handle or task. A [Store] keeps
// records; its doc comment is the contract, and package state/statetest checks
// a store against every sentence of it. An [EventStore] keeps the server-sent
// events of a session so that a broken stream can be resumed. A [Cache] holds
// copies of records in front of a store.
//
// The package knows nothing of MCP, HTTP or any database, and imports only the
// standard library. Everything above it (session, mcp/gosdk, cmd/coatcheck)
// speaks to stores through it alone.
//
// # Writing a store
//
// Call [Check] on every operation first: it refuses what no store may accept,
// so that all stores refuse the same. Compute deadlines with [CreateOp.Stamp],
// [TouchOp.Apply] and [ExtendOp.Apply] where the store computes in Go; a store
// that computes in SQL or Lua does the same arithmetic there. Then run
// statetest.Run.
package state
