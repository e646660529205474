package embedded

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Member is a node of the cluster, as this node sees it.
type Member struct {
	Name      string `json:"name"`
	Self      bool   `json:"self,omitempty"`
	Connected bool   `json:"connected"`
	Streams   int    `json:"streams"` // how many it keeps
	Leads     int    `json:"leads"`   // of how many it is the leader
	Behind    int    `json:"behind"`  // of how many it lacks more than what is under way
}

// A Stream is a part of what the cluster keeps. Each record is in one.
type Stream struct {
	Name      string   `json:"name"`
	Leader    string   `json:"leader"`    // empty: it has none just now, and cannot be written
	Followers []string `json:"followers"` // nodes that keep it, too
	Current   int      `json:"current"`   // nodes that have everything, with the leader; but for what is under way
	Replicas  int      `json:"replicas"`  // nodes that are to keep it

	// Mirrors are nodes that have a copy, which may be behind.
	Mirrors []string `json:"mirrors,omitempty"`

	behind map[string]bool
}

// Survives is how many of the nodes that keep the stream may be lost without
// an end to writing.
func (s *Stream) Survives() int { return s.Current - (s.Replicas/2 + 1) }

// KeptBy reports whether the node of that name keeps the stream, and has all of
// it.
func (s *Stream) KeptBy(name string) bool {
	return s.Leader == name || slices.Contains(s.Followers, name) && !s.behind[name]
}

// Streams are the parts of what the cluster keeps, by name.
func (s *Server) Streams(ctx context.Context) ([]Stream, error) {
	var all []Stream
	mirrors := make(map[string][]string)
	list := s.js.ListStreams(ctx)
	for info := range list.Info() {
		st := newStream(info)
		if m := info.Config.Mirror; m != nil {
			mirrors[m.Name] = append(mirrors[m.Name], st.Leader)
			continue
		}
		all = append(all, st)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("ask the cluster what it keeps: %w", err)
	}
	for i := range all {
		all[i].Mirrors = slices.Sorted(slices.Values(mirrors[all[i].Name]))
	}
	slices.SortFunc(all, func(a, b Stream) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func newStream(info *jetstream.StreamInfo) Stream {
	st := Stream{Name: info.Config.Name, Replicas: info.Config.Replicas, behind: map[string]bool{}}
	if info.Cluster == nil {
		return st
	}
	st.Leader = info.Cluster.Leader
	if st.Leader != "" {
		st.Current++
	}
	for _, r := range info.Cluster.Replicas {
		st.Followers = append(st.Followers, r.Name)
		if caughtUp(r) {
			st.Current++
		} else {
			st.behind[r.Name] = true
		}
	}
	slices.Sort(st.Followers)
	return st
}

const (
	// underWay is how many entries a node may lack that keeps up: the leader
	// goes on as soon as a majority has an entry, so under load one of the
	// others always lacks some. One that comes back lacks more, or is not heard.
	underWay = 256
	// heartbeats of nodes come each second.
	heard = 3 * time.Second
)

// caughtUp reports whether a follower has what it is to keep, but for what is
// under way.
func caughtUp(r *jetstream.PeerInfo) bool {
	return !r.Offline && (r.Current || r.Lag <= underWay && r.Active < heard)
}

// Members are the nodes that are connected to this one, and those that keep
// something, by name.
func (s *Server) Members(ctx context.Context) ([]Member, error) {
	streams, err := s.Streams(ctx)
	if err != nil {
		return nil, err
	}
	routes, err := s.server.Routez(nil)
	if err != nil {
		return nil, fmt.Errorf("look who is connected: %w", err)
	}
	found := map[string]*Member{s.opts.Name: {Name: s.opts.Name, Self: true, Connected: true}}
	for _, r := range routes.Routes {
		of(found, r.RemoteName).Connected = true
	}
	for _, st := range streams {
		st.count(found)
	}
	var all []Member
	for _, m := range found {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// of is the member of that name.
func of(found map[string]*Member, name string) *Member {
	if found[name] == nil {
		found[name] = &Member{Name: name}
	}
	return found[name]
}

// count adds what a stream says of those who keep it.
func (s *Stream) count(found map[string]*Member) {
	if s.Leader != "" {
		m := of(found, s.Leader)
		m.Streams++
		m.Leads++
	}
	for _, name := range s.Followers {
		m := of(found, name)
		m.Streams++
		if s.behind[name] {
			m.Behind++
		}
	}
}
