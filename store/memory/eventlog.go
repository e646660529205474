package memory

import (
	"bytes"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An eventLog keeps the events of one record: by stream, and all of them in
// the order in which they came, in which they are trimmed. It is guarded by
// the lock of the record's shard. A nil log is empty.
type eventLog struct {
	streams        map[string]*stream
	oldest, newest *event
	bytes          int64 // of data
	cost           int64 // in room
}

// A stream keeps a suffix of its events.
type stream struct {
	first  int64 // index of events[0], or the next
	events []*event
}

func (st *stream) next() int64 { return st.first + int64(len(st.events)) }

// An event is never changed once it is in a log, but for its neighbours.
type event struct {
	stream       *stream
	data         []byte
	at           time.Time
	older, newer *event
}

func eventCost(data []byte) int64 { return int64(eventOverhead + len(data)) }

// tail returns the next index of a stream.
func (l *eventLog) tail(name string) int64 {
	if l == nil || l.streams[name] == nil {
		return 0
	}
	return l.streams[name].next()
}

// admit returns the error for which nothing may be appended. Several appends
// may continue one stream.
func (l *eventLog) admit(appends []state.EventAppend) error {
	next := make(map[string]int64, len(appends))
	for _, a := range appends {
		want, seen := next[a.Stream]
		if !seen {
			want = l.tail(a.Stream)
		}
		if a.Index < want || a.Index > want && !a.Skip {
			return &state.ConflictError{Want: uint64(a.Index), Have: uint64(want)}
		}
		next[a.Stream] = a.Index + int64(len(a.Events))
	}
	return nil
}

// need returns the room that appends take, before what they trim.
func (l *eventLog) need(appends []state.EventAppend) int64 {
	n := int64(0)
	fresh := make(map[string]bool)
	for _, a := range appends {
		if !fresh[a.Stream] && (l == nil || l.streams[a.Stream] == nil) {
			fresh[a.Stream] = true
			n += streamOverhead + int64(len(a.Stream))
		}
		for _, data := range a.Events {
			n += eventCost(data)
		}
	}
	return n
}

// append adds admitted events, for which there is room, and returns the room
// that was freed.
func (l *eventLog) append(appends []state.EventAppend, now time.Time) (freed int64) {
	l.cost += l.need(appends)
	for _, a := range appends {
		st := l.streams[a.Stream]
		if st == nil {
			st = &stream{}
			l.streams[a.Stream] = st
		}
		if a.Skip {
			freed += l.restart(st, a.Index)
		}
		for _, data := range a.Events {
			l.push(st, bytes.Clone(data), now)
		}
	}
	return freed
}

// restart lets a stream start anew at an index.
func (l *eventLog) restart(st *stream, index int64) (freed int64) {
	for len(st.events) > 0 {
		freed += l.drop(st.events[0])
	}
	st.first = index
	return freed
}

func (l *eventLog) push(st *stream, data []byte, now time.Time) {
	ev := &event{stream: st, data: data, at: now, older: l.newest}
	if l.newest != nil {
		l.newest.newer = ev
	} else {
		l.oldest = ev
	}
	l.newest = ev
	st.events = append(st.events, ev)
	l.bytes += int64(len(data))
}

// drop forgets the first event of its stream and returns the room it took.
func (l *eventLog) drop(ev *event) int64 {
	ev.stream.events[0] = nil
	ev.stream.events = ev.stream.events[1:]
	ev.stream.first++
	if ev.older != nil {
		ev.older.newer = ev.newer
	} else {
		l.oldest = ev.newer
	}
	if ev.newer != nil {
		ev.newer.older = ev.older
	} else {
		l.newest = ev.older
	}
	ev.older, ev.newer = nil, nil
	cost := eventCost(ev.data)
	l.bytes -= int64(len(ev.data))
	l.cost -= cost
	return cost
}

// trim forgets the oldest events until at most so many bytes are left (zero:
// no bound) and none from before the moment given, and returns the room freed.
// The oldest event of all is the first of its stream.
func (l *eventLog) trim(keep int64, before time.Time) (freed int64) {
	for l.oldest != nil && (keep > 0 && l.bytes > keep || l.oldest.at.Before(before)) {
		freed += l.drop(l.oldest)
	}
	return freed
}
