package redis

import (
	"slices"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// listUser bounds what a List takes from the indexes of a user at once.
	// Those of a user with more are found by looking at all records.
	listUser = 1024
	// fetchRecords bounds how many records are asked for at once by name.
	fetchRecords = 32
)

// refsOfUser returns the refs of the user asked for, in order, or false if
// they must be found by looking at all. Expired ones are in no index of a
// user for certain.
func (l *lister) refsOfUser() (refs []state.Ref, ok bool, err error) {
	if l.q.User == nil || *l.q.User == "" || l.q.Expired {
		return nil, false, nil
	}
	err = l.guarded(func() error {
		kinds, err := l.kinds()
		if err != nil {
			return err
		}
		refs, ok, err = l.indexed(kinds)
		return err
	})
	return refs, ok, err
}

// A tagKind is a kind that a tag has records of.
type tagKind struct {
	routing byte
	kind    string
}

// kinds returns where to look.
func (l *lister) kinds() ([]tagKind, error) {
	var found []tagKind
	first := int(l.q.After.Routing())
	if l.q.Kind != "" {
		for routing := first; routing < 256; routing++ {
			found = append(found, tagKind{byte(routing), l.q.Kind})
		}
		return found, nil
	}
	var cmds []rueidis.Completed
	for routing := first; routing < 256; routing++ {
		cmds = append(cmds, l.s.client.B().Smembers().Key(kindsKey(l.s.tag(l.q.Namespace, byte(routing)))).Build())
	}
	for i, r := range l.s.client.DoMulti(l.ctx, cmds...) {
		kinds, err := r.AsStrSlice()
		if err != nil {
			return nil, readError(err)
		}
		for _, kind := range kinds {
			if !state.SystemKind(kind) {
				found = append(found, tagKind{byte(first + i), kind})
			}
		}
	}
	return found, nil
}

// indexed returns what the user's indexes hold behind q.After.
func (l *lister) indexed(kinds []tagKind) ([]state.Ref, bool, error) {
	if len(kinds) == 0 {
		return nil, true, nil
	}
	cmds := make([]rueidis.Completed, len(kinds))
	for i, k := range kinds {
		key := userKey(l.s.tag(l.q.Namespace, k.routing), k.kind, *l.q.User)
		cmds[i] = l.s.client.B().Zrange().Key(key).Min("0").Max("1024").Build()
	}
	var refs []state.Ref
	for i, r := range l.s.client.DoMulti(l.ctx, cmds...) {
		members, err := r.AsStrSlice()
		if err != nil {
			return nil, false, readError(err)
		}
		if len(refs)+len(members) > listUser {
			return nil, false, nil
		}
		for _, m := range members {
			ref, err := refOf(kinds[i].routing, m)
			if err != nil {
				return nil, false, corrupt(state.Key{Namespace: l.q.Namespace}, "index of a user")
			}
			if ref.Compare(l.q.After) > 0 {
				refs = append(refs, ref)
			}
		}
	}
	slices.SortFunc(refs, state.Ref.Compare)
	return refs, true, nil
}

// fetch offers the records of refs in their order. Those of one tag are asked
// for together, with the time.
func (l *lister) fetch(refs []state.Ref) error {
	for len(refs) > 0 && !l.stopped {
		routing, n := refs[0].Routing(), 1
		for n < len(refs) && n < fetchRecords && refs[n].Routing() == routing {
			n++
		}
		if err := l.fetchSome(routing, refs[:n]); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

func (l *lister) fetchSome(routing byte, refs []state.Ref) error {
	tag := l.s.tag(l.q.Namespace, routing)
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = recordKey(tag, member(ref))
	}
	var results []rueidis.RedisResult
	err := l.guarded(func() error {
		b := l.s.client.B()
		results = l.s.client.DoMulti(l.ctx, b.Mget().Key(names...).Build(), b.Time().Build())
		return nil
	})
	if err != nil {
		return err
	}
	records, err := results[0].ToArray()
	if err != nil {
		return readError(err)
	}
	now, err := l.s.timeOf(results[1])
	if err != nil {
		return readError(err)
	}
	now = l.s.observe(routing, now.UnixMilli())
	for i := range records {
		if records[i].IsNil() || l.stopped {
			continue
		}
		b, err := records[i].AsBytes()
		if err != nil {
			return readError(err)
		}
		if err := l.offer(routing, member(refs[i]), b, now); err != nil {
			return err
		}
	}
	return nil
}
