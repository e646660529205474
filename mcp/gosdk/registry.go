package gosdk

import (
	"sync"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A registry has the live sessions of a handler: at most one of a ref.
type registry struct {
	max int

	mu     sync.Mutex // guards all below; held for moments only
	live   map[state.Ref]*live
	closed bool // no more activations
}

// find returns the live session of the ref, or the one that add makes, which
// is registered then and which the caller has to activate.
func (r *registry) find(ref state.Ref, add func() *live) (l *live, added bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.live[ref]; l != nil {
		return l, false, nil
	}
	if r.closed {
		return nil, false, draining()
	}
	if len(r.live) >= r.max {
		return nil, false, streamable.Unavailable("too many live sessions, try again later", retryAfter)
	}
	l = add()
	r.live[ref] = l
	return l, true, nil
}

func (r *registry) get(ref state.Ref) *live {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[ref]
}

// remove takes l out, if it is still the live session of its ref.
func (r *registry) remove(l *live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[l.ref] == l {
		delete(r.live, l.ref)
	}
}

func (r *registry) all() []*live {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*live, 0, len(r.live))
	for _, l := range r.live {
		out = append(out, l)
	}
	return out
}

// close refuses further activations.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

func (r *registry) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
