package gosdk

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// events is the SDK's event store for one live session, on a state.EventStore
// that many share, or in memory alone.
//
// The SDK calls Append under the lock of the stream for every message, so what
// is not worth a write must not cost one. An event of the standalone stream is
// stored before it is delivered. Events of a POST's stream stay in memory until
// the call is long or its client gone; then they are stored in groups, by a
// goroutine of their own. A stream that ended with its client there is kept in
// memory for a short while only.
type events struct {
	store  state.EventStore // nil: memory only
	key    state.Key
	epoch  uint64
	bounds state.EventBounds
	log    *slog.Logger
	spawn  func(func()) // starts a goroutine that the handler waits for
	fenced func()       // called when another replica has taken the session over; may be nil

	saving sync.Mutex // held over writes to the store, one at a time

	mu        sync.Mutex       // guards all below; never held over the store
	seats     map[string]*seat // who is connected to which stream, in a cluster
	standing  stream           // the standalone stream
	streams   map[string]*stream
	finished  []*stream // ended with their client there, oldest first
	delivered int64     // the last index of the standalone stream that went out; -1: none
	size      int       // of all in memory, bytes
	kicked    bool      // a goroutine stores
	dead      bool      // the record is gone or somebody else's: nothing is stored
	lost      bool      // not all could be stored, and that was said
	holds     int       // GETs that are about to replay the standalone stream
	written   int64     // bytes stored since the last trim
	trimmed   time.Time
}

// Bounds of what is kept of streams that ended with their client there.
const (
	finishedStreams = 16
	finishedBytes   = 64 << 10
	finishedAge     = 30 * time.Second
)

// storeTimeout bounds one write to the store that no request waits for.
const storeTimeout = 10 * time.Second

var _ mcp.EventStore = (*events)(nil)

func newEvents(store state.EventStore, key state.Key, epoch uint64, o *Options, spawn func(func())) *events {
	return &events{
		store: store, key: key, epoch: epoch, bounds: o.EventBounds, log: o.Logger, spawn: spawn,
		streams: map[string]*stream{}, delivered: -1, trimmed: time.Now(),
		standing: stream{keep: true, loaded: store == nil},
	}
}

// Open implements mcp.EventStore.
func (e *events) Open(ctx context.Context, _, name string) error {
	if name == "" {
		return nil
	}
	s := &stream{name: name, opened: time.Now(), calls: 1, loaded: true}
	x := exchangeOf(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if x != nil {
		s.calls, x.stream = x.calls, s
	}
	if x != nil && x.seat != nil {
		if e.seats == nil {
			e.seats = map[string]*seat{}
		}
		e.seats[name] = x.seat
	}
	e.streams[name] = s
	return nil
}

// Append implements mcp.EventStore. It fails only where the event is lost.
func (e *events) Append(ctx context.Context, _, name string, data []byte) error {
	if name == "" {
		return e.appendStanding(ctx, data)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.streams[name]
	if s == nil {
		// The SDK opens a stream before it writes, and forget comes last.
		return state.ErrTrimmed
	}
	e.add(s, data)
	if s.keep {
		e.kick()
	}
	return nil
}

// add puts the event into memory, within the bound. e.mu is held.
func (e *events) add(s *stream, data []byte) {
	s.add(data, time.Now())
	e.size += len(data) + keptOverhead
	if int64(e.size) > e.bounds.Bytes {
		e.shrink()
	}
}

// appendStanding stores the event before it returns. In an outage the event
// stays in memory, and goes into the store with the next one.
func (e *events) appendStanding(ctx context.Context, data []byte) error {
	if err := e.load(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.add(&e.standing, data)
	e.mu.Unlock()
	e.save(ctx)
	return nil
}

// load finds out where the standalone stream stands in the store.
func (e *events) load(ctx context.Context) error {
	e.mu.Lock()
	loaded := e.standing.loaded
	e.mu.Unlock()
	if loaded {
		return nil
	}
	e.saving.Lock()
	defer e.saving.Unlock()
	ctx, cancel := detached(ctx)
	defer cancel()
	_, next, err := e.store.Tail(ctx, e.key, "")
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := &e.standing; !s.loaded {
		s.base, s.stored, s.loaded = next, next, true
		// What of it went out before this activation is not known. A client
		// that missed something says so by Last-Event-ID.
		e.delivered = next - 1
	}
	return nil
}

// After implements mcp.EventStore.
func (e *events) After(ctx context.Context, _, name string, index int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		x := exchangeOf(ctx)
		replay, err := e.replay(ctx, name, int64(index)+1, x)
		if x != nil {
			e.release(x)
			x.failure = err
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for _, data := range replay {
			if !yield(data, nil) {
				return
			}
		}
	}
}

// SessionClosed implements mcp.EventStore. The SDK calls it whenever a session
// is closed here, which is no end: events go with their record.
func (e *events) SessionClosed(context.Context, string) error { return nil }

// markDelivered notes that an event of the standalone stream went out.
func (e *events) markDelivered(index int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.delivered = max(e.delivered, index)
}

// keepStreamOf has what there is and what comes of the request's stream stored.
func (e *events) keepStreamOf(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.stream != nil {
		e.keep(x.stream)
	}
}

// keep is for a stream. e.mu is held.
func (e *events) keep(s *stream) {
	if e.store == nil || s.keep || e.streams[s.name] != s {
		return
	}
	s.keep = true
	e.kick()
}

// requestOver is told when a request that served a POST's stream is over.
// there: its client took all that was written.
func (e *events) requestOver(x *exchange, there, refused bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := x.stream
	switch {
	case s == nil || e.streams[s.name] != s:
	case refused:
		e.forget(s) // the SDK registered nothing under it
	case s.done() && there && !s.keep:
		delete(e.streams, s.name)
		e.finished = append(e.finished, s)
		e.forgetFinished(time.Now())
	default:
		// The client is gone, or was sent away to come back later.
		e.keep(s)
	}
}

// named returns the stream, if it is not in the store alone. e.mu is held.
func (e *events) named(name string) *stream {
	if name == "" {
		return &e.standing
	}
	if s := e.streams[name]; s != nil {
		return s
	}
	for _, s := range e.finished {
		if s.name == name {
			return s
		}
	}
	return nil
}

// resuming notes that the request resumes a stream that is not over, if it is.
func (e *events) resuming(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.stream = e.streams[x.resume.stream]
}

// forget drops a stream from memory. e.mu is held.
func (e *events) forget(s *stream) {
	if e.streams[s.name] == s {
		delete(e.streams, s.name)
		e.size -= s.size
	}
}

// forgetFinished drops what is over its bounds. e.mu is held.
func (e *events) forgetFinished(now time.Time) {
	size := 0
	for _, s := range e.finished {
		size += s.size
	}
	for len(e.finished) > 0 {
		s := e.finished[0]
		if len(e.finished) <= finishedStreams && size <= finishedBytes && now.Sub(s.opened) < finishedAge {
			return
		}
		size -= s.size
		e.size -= s.size
		e.finished[0] = nil
		e.finished = e.finished[1:]
	}
}

// shrink drops events until they are within the bound: first of streams that
// nobody waits for, then the oldest of the largest. e.mu is held.
func (e *events) shrink() {
	for int64(e.size) > e.bounds.Bytes {
		if len(e.finished) > 0 {
			e.size -= e.finished[0].size
			e.finished = e.finished[1:]
			continue
		}
		largest := &e.standing
		for _, s := range e.streams {
			if s.size > largest.size {
				largest = s
			}
		}
		if len(largest.mem) == 0 {
			return
		}
		before := largest.size
		largest.dropTo(largest.base + 1)
		e.size -= before - largest.size
	}
}

// detached returns a context with the values of ctx that ends on its own.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}
