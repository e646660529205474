// Package audit keeps the record of who did what to which session, from where,
// why, and with what result: one JSON object a line.
//
//	{"time":"2026-11-25T10:00:00Z","event":"session.ended","kind":"session",
//	 "ref":"q3k…","user":"ann","by":"cli:root","why":"revoked","result":"ok"}
//
// A [Log] never holds up a request: events wait in a bounded buffer for a
// goroutine that writes them, and what finds no room there is dropped, counted,
// and told of in the log itself once there is room. [Log.Observe] takes the
// events of a session.Manager.
//
// It is the one place where users appear by name. Ids and tokens do not: an
// event has no field for them.
package audit
