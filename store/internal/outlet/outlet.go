// Package outlet takes changes from who hears them for all watchers of a store,
// and never waits, to the channel of one, who may be slow.
package outlet

import (
	"context"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// buffer bounds the changes that wait for a slow watcher. More of them become a
// Gap.
const buffer = 1024

// ahead is how many of them the channel holds, so that it and its reader need
// not take turns.
const ahead = 64

// An Outlet is one watcher's. Put, Gap and Beat may be called by any number of
// goroutines; they do not wait.
type Outlet struct {
	out      chan state.Change
	wake     chan struct{} // holds one token while there may be something to take
	interval time.Duration // of beats

	mu      sync.Mutex // guards all below
	gap     bool       // changes before those in pending were lost
	beat    bool       // the server was lately heard from
	pending []state.Change
	last    time.Time // when the watcher was last sent something
}

// New returns an Outlet whose watcher wants a beat at least once per interval.
func New(interval time.Duration) *Outlet {
	return &Outlet{
		out: make(chan state.Change, ahead), wake: make(chan struct{}, 1), interval: interval, last: time.Now(),
	}
}

// Changes is the watcher's channel. Run closes it.
func (o *Outlet) Changes() <-chan state.Change { return o.out }

// Interval is how long the watcher may hear nothing.
func (o *Outlet) Interval() time.Duration { return o.interval }

// Put gives a change. If too many wait, a Gap takes their place.
func (o *Outlet) Put(c state.Change) {
	o.mu.Lock()
	if len(o.pending) < buffer {
		o.pending = append(o.pending, c)
	} else {
		// The Gap stands for c too.
		o.pending, o.gap = o.pending[:0], true
	}
	o.mu.Unlock()
	o.signal()
}

// Gap says that changes were lost; those that wait are void too.
func (o *Outlet) Gap() {
	o.mu.Lock()
	o.pending, o.gap = o.pending[:0], true
	o.mu.Unlock()
	o.signal()
}

// Beat says that the server was heard from, and that nothing is missing. The
// watcher is told if it has heard nothing for half of its interval: twice as
// often as promised, since timers are late.
func (o *Outlet) Beat() {
	o.mu.Lock()
	due := time.Since(o.last) >= o.interval/2
	o.beat = o.beat || due
	o.mu.Unlock()
	if due {
		o.signal()
	}
}

func (o *Outlet) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next takes what there is to be sent, in room that was taken before.
func (o *Outlet) next(room []state.Change) []state.Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(room) > 0 {
		o.last = time.Now()
	}
	beat := o.beat
	o.beat = false
	changes := room[:0]
	if o.gap {
		o.gap = false
		changes = append(changes, state.Change{Type: state.Gap})
	}
	changes, o.pending = append(changes, o.pending...), o.pending[:0]
	if len(changes) == 0 && beat {
		changes = append(changes, state.Change{Type: state.Beat})
	}
	return changes
}

// Run sends changes until the context is done or closed is closed, and closes
// the channel. It is called once.
func (o *Outlet) Run(ctx context.Context, closed <-chan struct{}) {
	defer close(o.out)
	var changes []state.Change
	for {
		if changes = o.next(changes); len(changes) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-closed:
				return
			case <-o.wake:
				continue
			}
		}
		for _, c := range changes {
			select {
			case <-ctx.Done():
				return
			case <-closed:
				return
			case o.out <- c:
			}
		}
	}
}
