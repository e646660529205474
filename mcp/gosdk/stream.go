package gosdk

import "time"

// A stream is what is kept of one stream of a session. Its fields are guarded
// by the mutex of its events.
//
//	index   0 ........ stored ........ next
//	                   base ... mem .......     base <= stored, unless there
//	        in the store        here            is no store
type stream struct {
	name   string
	opened time.Time
	calls  int // answers that a POST's stream waits for

	base   int64 // index of mem[0]
	mem    []kept
	size   int   // bytes in mem
	stored int64 // next index to go into the store
	gap    bool  // the store has not all before stored

	answered int
	keep     bool // goes into the store
	loaded   bool // base and stored are known; false only for the standalone stream before its first use
}

// kept is an event in memory.
type kept struct {
	data []byte
	at   time.Time
}

func (s *stream) next() int64 { return s.base + int64(len(s.mem)) }

// done reports whether the stream will get no more events.
func (s *stream) done() bool { return s.name != "" && s.answered >= s.calls }

func (s *stream) add(data []byte, now time.Time) {
	s.mem = append(s.mem, kept{data: data, at: now})
	s.size += len(data) + keptOverhead
	if _, ok := answers(data); ok {
		s.answered++
	}
}

// keptOverhead is what an event costs beside its bytes, about.
const keptOverhead = 64

// dropTo forgets events in memory before the index.
func (s *stream) dropTo(index int64) {
	n := int(min(index, s.next()) - s.base)
	if n <= 0 {
		return
	}
	for _, k := range s.mem[:n] {
		s.size -= len(k.data) + keptOverhead
	}
	clear(s.mem[:n])
	s.mem = s.mem[n:]
	s.base += int64(n)
	if len(s.mem) == 0 {
		s.mem = nil
	}
	if s.stored < s.base {
		s.stored, s.gap = s.base, true
	}
}

// from returns the events in memory from the index on.
func (s *stream) from(index int64) [][]byte {
	var out [][]byte
	for i := max(index, s.base); i < s.next(); i++ {
		out = append(out, s.mem[i-s.base].data)
	}
	return out
}

// unstored returns the events that are not in the store yet.
func (s *stream) unstored() [][]byte {
	return s.from(s.stored)
}
