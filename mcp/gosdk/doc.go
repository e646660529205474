// Package gosdk serves MCP with the official Go SDK, with sessions that
// survive the process. A [Handler] takes the place of
// mcp.StreamableHTTPHandler: the same getServer function, plus a
// session.Manager.
//
//	store, err := sqlite.Open(ctx, "sessions.db", sqlite.Options{})
//	manager, err := session.NewManager(store, session.Options{})
//	handler, err := gosdk.NewHandler(getServer, manager, &gosdk.Options{Events: store})
//	http.Handle("/mcp", handler)
//
// # How it works
//
// A session is a record in the store. While it is in use it is also live: a
// server of the SDK is connected to it in this process. A request for a session
// that is not live here activates it from its record, and one that has been
// idle for a while is passivated again, which costs no memory and no goroutine.
//
//	          id                   ref                     messages
//	client ───────▶ front ───────▶ SDK transport ─▶ conn ─▶ SDK server, tools
//	   ▲             │  ▲ activate    │               │          │ FromContext
//	   │             │  └──────────┐  │ events        │ what is  │
//	   │             ▼             │  ▼               ▼ told     ▼
//	   │          Manager ───▶  registry   events ──▶ store ◀── Session
//	   │         (each request)     ▲
//	   └── streams end at once ─────┴── watch: deleted, expired, revoked
//
// The front gives the SDK the session's ref in place of the id, so the secret
// in the id reaches neither the SDK, its logs nor a tool: ServerSession.ID is
// the ref. The conn stands between the SDK's transport and its server. It
// stores what the server is about to acknowledge (log level, subscriptions)
// before the client hears of it.
//
// Requests of the 2026-07-28 revision, which has no sessions, are served on the
// same endpoint by the SDK's own stateless handler.
//
// # What is guaranteed
//
//   - Every request is checked against the store: a session that was deleted,
//     revoked or has expired, by whichever process, is 404 from then on, and its
//     open streams end. One that belongs to somebody else looks the same.
//   - An outage of the store is 503 with Retry-After, never 404.
//   - What was acknowledged is there after kill -9, as far as the store is
//     durable: the session, its data, revision, client info and capabilities,
//     log level and subscriptions.
//   - An answer to a question that a former activation asked is never taken
//     for the answer to one of this activation.
//   - Events that a client missed can be had again by Last-Event-ID, within
//     bounds, after a restart too if Options.Events is set: those of the
//     standalone stream are stored before they are sent; those of a call once
//     the call takes long or its client has gone. A call that was running when
//     the process was killed is answered with an error when its stream is
//     resumed.
//
// What a process keeps for a session itself does not survive: variables, tools
// added to one session only, questions to the client that are unanswered.
// [Session.Reactivated] tells a tool. While a session is passivated, the
// server's notifications do not reach it; an open stream prevents that.
//
// # Several replicas
//
// With Options.Cluster any number of processes on one store serve the same
// sessions, and any request may reach any of them:
//
//	node, err := cluster.Join(ctx, store, cluster.Options{Namespace: manager.Namespace(), Advertise: "http://10.0.0.7:8080"})
//	handler, err := gosdk.NewHandler(getServer, manager, &gosdk.Options{Events: store, Cluster: node})
//	mux.Handle("/mcp", handler)
//	mux.Handle(cluster.PeerPath, node.Peers())
//
// A session is live in one of them, its owner, to which the others forward its
// requests: answers to questions, cancellations and streams too. Nothing has to
// be done for that in tools, but for one thing: say [ResourceUpdated] instead
// of mcp.Server.ResourceUpdated, so that clients hear of it that are connected
// elsewhere. That a list has changed they hear of by themselves, provided that
// getServer returns the same server more than once: it has a session without a
// client then, which Server.Sessions shows.
//
// When an owner is gone, another takes its sessions over once the heartbeat
// timeout is over. Calls in flight there fail with 502, or are answered with an
// error when their stream is resumed; nothing acknowledged is lost. What a
// former owner still writes, because it was only paused, is session.ErrFenced;
// what its tools did meanwhile outside of the store cannot be undone. A replica
// that cannot tell whether the others count on it serves no sessions: 503 with
// Retry-After. One that drains gives quiet sessions away at once, and busy ones
// when they are done; close the Handler, and the node after it. To a replica
// through which all requests of a quiet session come it is handed over.
//
// In a cluster a GET takes the stream of the session over from one that is
// still connected, where the SDK says 409: the owner may be the last to hear
// that a connection broke.
//
// # Differences from the SDK's handler
//
//   - A request without a session id that is no initialize is 400, as the
//     specification asks for; the SDK serves some of them.
//   - A wrong user is 404, not 403; and Origin is checked by default.
//   - Closing the SDK's ServerSession disconnects the session here and does
//     not end it, since that is what servers do to shut down: see
//     [Session.End]. ServerOptions.GetSessionID is not asked.
//   - ServerOptions.InitializedHandler runs once in the life of a session,
//     SubscribeHandler for each activation.
//   - A call of a method that the server does not know is answered with
//     JSON-RPC error -32601 rather than with status 400.
//   - Custom methods (mcp.AddReceivingCustomMethod) do not work in batches.
package gosdk
