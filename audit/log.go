package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a [Log]. The zero value is that of a server.
type Options struct {
	// Buffer is how many events may wait to be written; zero: 4096.
	Buffer int
	// OnDrop is told of each event that found no room, or could not be
	// written. It must be quick. Nil: nobody is.
	OnDrop func()
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // told when the log cannot be written; nil: nobody is
}

func (o Options) defaults() Options {
	if o.Buffer <= 0 {
		o.Buffer = 4096
	}
	if o.OnDrop == nil {
		o.OnDrop = func() {}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Log is safe for concurrent use. Close it to have all written.
type Log struct {
	opts    Options
	dropped atomic.Uint64 // not told of yet

	mu     sync.RWMutex // guards closed, and sending against closing
	closed bool
	events chan Event
	done   chan struct{} // closed when all is written

	out output
}

// Open appends to a file, which is made for its owner alone if it is not there.
// Several processes may append to one file: each line is written whole. See
// [Log.Reopen] for rotation.
func Open(path string, opts Options) (*Log, error) {
	f := &file{path: path}
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	return start(f, opts), nil
}

// New writes to w, in one goroutine, each line whole. Closing w is left to the
// caller, after the Log.
func New(w io.Writer, opts Options) *Log { return start(writer{w}, opts) }

// ToLogger hands the events to a logger, at level info, with the message
// "audit" and their fields as attributes.
func ToLogger(log *slog.Logger, opts Options) *Log { return start(writer{lines{log}}, opts) }

func start(out output, opts Options) *Log {
	opts = opts.defaults()
	l := &Log{opts: opts, events: make(chan Event, opts.Buffer), done: make(chan struct{}), out: out}
	go l.write()
	return l
}

// Record notes an event. It does not wait: where there is no room, or the Log
// is closed, the event is dropped and counted. An event without a time gets the
// present one.
func (l *Log) Record(e Event) {
	if e.Time.IsZero() {
		e.Time = l.opts.Clock().UTC()
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.closed {
		select {
		case l.events <- e:
			return
		default:
		}
	}
	l.drop(1)
}

func (l *Log) drop(n uint64) {
	l.dropped.Add(n)
	for range n {
		l.opts.OnDrop()
	}
}

// Reopen opens the file anew, after it was moved away to rotate it. What could
// not be opened leaves the Log with the file it has. It does nothing for a Log
// that is not kept in a file.
func (l *Log) Reopen() error { return l.out.Reopen() }

// Close writes what is there, and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.events)
	}
	l.mu.Unlock()
	<-l.done
	return l.out.Close()
}

// batchBytes is about how much is written in one call.
const batchBytes = 64 << 10

// write is the goroutine that writes, until Close.
func (l *Log) write() {
	defer close(l.done)
	var b batch
	for e := range l.events {
		b.add(e)
		l.gather(&b)
		l.flush(&b)
	}
	if l.dropped.Load() > 0 {
		l.tell(&b)
		l.flush(&b)
	}
}

// gather adds what else is waiting.
func (l *Log) gather(b *batch) {
	for b.text.Len() < batchBytes {
		select {
		case e, ok := <-l.events:
			if !ok {
				return
			}
			b.add(e)
		default:
			if l.dropped.Load() > 0 {
				l.tell(b)
			}
			return
		}
	}
}

// tell notes how many events are missing.
func (l *Log) tell(b *batch) {
	b.add(Event{Time: l.opts.Clock().UTC(), Event: "audit.dropped", Result: OK, Dropped: l.dropped.Swap(0)})
}

// flush writes the batch. What cannot be written is counted as dropped: to keep
// it would take memory without end.
func (l *Log) flush(b *batch) {
	n, err := l.put(b)
	text := b.text.Bytes()
	written := bytes.Count(text[:n], []byte{'\n'})
	if err != nil {
		l.opts.Logger.Error("could not write the audit log", "error", err, "events", b.events-written)
		l.drop(uint64(b.events - written))
	}
	if n > 0 {
		b.torn = text[n-1] != '\n'
	}
	b.reset()
}

// put writes the batch, on a line of its own: one that was cut off before must
// not spoil it.
func (l *Log) put(b *batch) (int, error) {
	if b.torn {
		if _, err := l.out.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		b.torn = false
	}
	return l.out.Write(b.text.Bytes())
}

// A batch is lines that are written together.
type batch struct {
	text   bytes.Buffer
	events int
	torn   bool // what was written last ends within a line
}

func (b *batch) add(e Event) {
	line, err := json.Marshal(e)
	if err != nil { // a time beyond the year 9999
		e.Time = time.Time{}
		line, _ = json.Marshal(e)
	}
	b.text.Write(line)
	b.text.WriteByte('\n')
	b.events++
}

func (b *batch) reset() {
	b.events = 0
	if b.text.Cap() > 4*batchBytes {
		b.text = bytes.Buffer{}
		return
	}
	b.text.Reset()
}

// output is where lines go.
type output interface {
	io.WriteCloser
	Reopen() error
}

// writer is an output that cannot be opened anew.
type writer struct{ io.Writer }

func (writer) Reopen() error { return nil }
func (writer) Close() error  { return nil }

// lines hands each line to a logger.
type lines struct{ log *slog.Logger }

func (l lines) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		var e Event
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		l.log.Info("audit", attributes(e)...)
	}
	return len(text), nil
}

// attributes are the fields of the event that say something.
func attributes(e Event) []any {
	out := []any{"event", e.Event, "at", e.Time, "result", e.Result}
	for _, f := range []struct{ key, value string }{
		{"kind", e.Kind}, {"ref", e.Ref}, {"user", e.User}, {"by", e.By}, {"from", e.From}, {"why", e.Why},
	} {
		if f.value != "" {
			out = append(out, f.key, f.value)
		}
	}
	if e.Dropped > 0 {
		out = append(out, "dropped", e.Dropped)
	}
	return out
}

// A file is appended to, and may be opened anew.
type file struct {
	path string
	mu   sync.Mutex // guards f
	f    *os.File
}

func (f *file) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Write(text)
}

func (f *file) Reopen() error {
	opened, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	info, err := opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		_ = opened.Close() // nothing was written
		return fmt.Errorf("open audit log %s: %w", f.path, err)
	}
	f.mu.Lock()
	before := f.f
	f.f = opened
	f.mu.Unlock()
	if before == nil {
		return nil
	}
	if err := closeSynced(before); err != nil {
		return fmt.Errorf("close the audit log before: %w", err)
	}
	return nil
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := closeSynced(f.f); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

// closeSynced puts what was written on the disk.
func closeSynced(f *os.File) error { return errors.Join(f.Sync(), f.Close()) }
