package memory

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A space is what the indexes know of one namespace.
type space struct {
	// mu guards order and tables with all in them. Whoever inserts or ends a
	// record holds it, so that counting, evicting and inserting are one step.
	mu     sync.RWMutex
	order  order
	tables map[string]*table // by kind

	watchMu  sync.Mutex // held to replace watchers
	watchers atomic.Pointer[[]*watcher]
}

// A table indexes the records of one namespace and kind. It is guarded by
// space.mu.
type table struct {
	users   map[string]*userSet // only users with live records; not the empty user
	live    deadlines           // records that were not noticed to have expired
	expired queue[*entry]       // noticed, and waiting for a sweep
	tombs   queue[*tomb]        // in the order in which they fall due
}

// A userSet holds the records of one user in table.live, in no order.
type userSet struct{ entries []*entry }

func (sp *space) table(kind string) *table {
	t := sp.tables[kind]
	if t == nil {
		t = &table{users: make(map[string]*userSet)}
		sp.tables[kind] = t
	}
	return t
}

// insert adds a record to the indexes.
func (sp *space) insert(e *entry) {
	t := e.table
	sp.order.insert(e.rec.Ref, e)
	t.live.push(e)
	e.inUser = -1
	if e.rec.User == "" {
		return
	}
	set := t.users[e.rec.User]
	if set == nil {
		set = &userSet{}
		t.users[e.rec.User] = set
	}
	e.inUser = len(set.entries)
	set.entries = append(set.entries, e)
}

// remove takes a record out of the indexes; a noticed one must have been
// popped from table.expired before.
func (sp *space) remove(e *entry) {
	sp.order.remove(e.rec.Ref)
	e.table.unlist(e)
}

// unlist takes a record out of the indexes of live records.
func (t *table) unlist(e *entry) {
	if e.inHeap >= 0 {
		t.live.remove(e)
	}
	if e.inUser < 0 {
		return
	}
	set := t.users[e.rec.User]
	last := len(set.entries) - 1
	set.entries[e.inUser] = set.entries[last]
	set.entries[e.inUser].inUser = e.inUser
	set.entries[last] = nil
	set.entries = set.entries[:last]
	e.inUser = -1
	if last == 0 {
		delete(t.users, e.rec.User)
	}
}

// notice moves at most n records that have expired at now (in Unix
// milliseconds) from the live ones to the expired ones.
//
// A touch moves a deadline without telling the heap, so that touches need no
// lock but the shard's. Here that is made up for: a record that comes up too
// early goes back with its true deadline.
func (t *table) notice(now int64, n int) {
	for ; n > 0 && len(t.live) > 0 && t.live[0].due <= now; n-- {
		e := t.live[0]
		if due := e.readDue(); due > now {
			e.due = due
			t.live.fix(e)
			continue
		}
		t.unlist(e)
		t.expired.push(e)
	}
}

// noticeUser does the same for all records of one user.
func (t *table) noticeUser(now int64, user string) {
	set := t.users[user]
	if set == nil {
		return
	}
	for i := len(set.entries) - 1; i >= 0; i-- {
		e := set.entries[i]
		if e.due > now || e.readDue() > now {
			continue
		}
		t.unlist(e)
		t.expired.push(e)
	}
}

// readDue returns the true deadline.
func (e *entry) readDue() int64 {
	e.shard.mu.RLock()
	defer e.shard.mu.RUnlock()
	return e.rec.Expires().UnixMilli()
}

// amortized is how many expired records a Create notices on its way. More than
// one, so that they cannot pile up.
const amortized = 8

// makeRoom applies a limit at now to a record to be created for user, and
// returns which records must go, oldest first.
func (t *table) makeRoom(l state.Limit, user string, now int64) ([]*entry, error) {
	t.notice(now, amortized)
	victims, err := t.overUser(l, user, now)
	if err != nil || l.Total <= 0 {
		return victims, err
	}
	// The heap may hold expired records, so it counts too many, never too few.
	if len(t.live)-len(victims) >= l.Total {
		t.notice(now, math.MaxInt)
	}
	if len(t.live)-len(victims) >= l.Total {
		return nil, &state.LimitError{Scope: "total", Limit: l.Total}
	}
	return victims, nil
}

func (t *table) overUser(l state.Limit, user string, now int64) ([]*entry, error) {
	if l.PerUser <= 0 || user == "" || t.count(user) < l.PerUser {
		return nil, nil
	}
	t.noticeUser(now, user)
	over := t.count(user) - l.PerUser + 1
	if over <= 0 {
		return nil, nil
	}
	if l.Refuse {
		return nil, &state.LimitError{Scope: "user", Limit: l.PerUser}
	}
	all := slices.SortedFunc(slices.Values(t.users[user].entries), older)
	return all[:over], nil
}

func (t *table) count(user string) int {
	if set := t.users[user]; set != nil {
		return len(set.entries)
	}
	return 0
}

// older orders records as they are evicted.
func older(a, b *entry) int {
	if c := cmp.Compare(a.created, b.created); c != 0 {
		return c
	}
	return a.rec.Ref.Compare(b.rec.Ref)
}
