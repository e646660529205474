package encrypted

import (
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// versions remember which version of a record was seen last, for the records
// that were used last. A nil versions remembers nothing.
type versions struct {
	staleness time.Duration // how old what the store answers may be
	shards    [16]versionShard
}

// A versionShard forgets in generations: when the younger is full it becomes
// the older, and what was the older is forgotten.
type versionShard struct {
	mu             sync.Mutex // guards what follows
	limit          int
	younger, older map[state.Key]seen
}

// A seen is a version and when it was known to be there.
type seen struct {
	version uint64
	at      time.Time
}

// ended is the version of a record that was seen to end.
const ended = ^uint64(0)

func newVersions(n int, staleness time.Duration) *versions {
	if n < 0 {
		return nil
	}
	v := &versions{staleness: staleness}
	for i := range v.shards {
		v.shards[i].limit = n/len(v.shards) + 1
	}
	return v
}

func (v *versions) shard(key state.Key) *versionShard {
	var buf [32]byte
	b, _ := key.Ref.AppendBinary(buf[:0])
	return &v.shards[b[len(b)-1]%byte(len(v.shards))]
}

// olderThanSeen reports whether a newer version than the one given was known
// before the store was asked, so long before that it cannot have answered with
// this one.
func (v *versions) olderThanSeen(key state.Key, version uint64, asked time.Time) bool {
	if v == nil {
		return false
	}
	sh := v.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, ok := sh.find(key)
	return ok && s.version > version && s.at.Add(v.staleness).Before(asked)
}

// saw notes that a version is there.
func (v *versions) saw(key state.Key, version uint64) { v.note(key, version, false) }

// made notes that a record was created, whatever there was before.
func (v *versions) made(key state.Key, version uint64) { v.note(key, version, true) }

func (v *versions) note(key state.Key, version uint64, anew bool) {
	if v == nil {
		return
	}
	sh := v.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s, ok := sh.find(key); ok && !anew && s.version >= version {
		return
	}
	sh.put(key, seen{version: version, at: time.Now()})
}

// find returns what is known of a key and keeps it from being forgotten soon.
func (sh *versionShard) find(key state.Key) (seen, bool) {
	if s, ok := sh.younger[key]; ok {
		return s, true
	}
	s, ok := sh.older[key]
	if ok {
		sh.put(key, s)
	}
	return s, ok
}

func (sh *versionShard) put(key state.Key, s seen) {
	if sh.younger == nil {
		sh.younger = make(map[state.Key]seen)
	}
	if _, there := sh.younger[key]; !there && len(sh.younger) >= sh.limit {
		sh.older, sh.younger = sh.younger, make(map[state.Key]seen)
	}
	sh.younger[key] = s
}
