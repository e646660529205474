// Package open opens any store of this module from a URL, and puts the wrappers
// that are asked for around it. It is for programs whose operator chooses the
// store; a library user who knows which one it is imports that alone, and is
// spared the drivers of the others.
//
//	memory:                    see package store/memory
//	sqlite:PATH                see package store/sqlite
//	redis://…, rediss://…      see redis.ParseURL
//	postgres://…, postgresql://…
//	                           see postgres.Open
//	nats://…, tls://…          see nats.ParseURL
//
// Parse reaches out to nothing. Neither its errors nor those of Open, nor what a
// [URL] prints, repeat a password, a user or a parameter of a URL.
//
// What is open keeps the whole contract of [state.Store] and [state.EventStore],
// whatever is around it.
package open
