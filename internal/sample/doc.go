// Package sample is the MCP server that "coatcheck serve" hosts: a small shop
// that needs state of every sort, so that each can be seen to survive a restart.
//
//   - The basket of a session is in the session's own data (legacy clients).
//   - A basket made by create_basket is a record of its own, named by a handle
//     that is bound to the caller (both eras).
//   - Notes are records without an owner: a blackboard that everybody who may
//     use the server reads and writes, with resource subscriptions.
//   - ask_name waits for an answer of the user; countdown reports progress.
//
// It shows how a server uses Coatcheck and uses its public API only. All that
// a caller gives is bounded here or by the store.
package sample
