package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// placeWait is the pause between two looks at a stream that is being placed.
	placeWait = 50 * time.Millisecond
	// placeLong is how long is waited for a server to have what is placed.
	placeLong = 3 * time.Second
	// followLong is how long is waited for a mirror to be placed and to hear of its
	// stream. One that missed that asks again after half a minute at the earliest.
	followLong = 6 * time.Second
	// healLong is how long is waited for a mirror to get what it missed, and healWait
	// is from one message that tells it so to the next.
	healLong = 3 * time.Second
	healWait = 500 * time.Millisecond
	// mirrorWait bounds what is asked of one mirror, whose server may be gone.
	mirrorWait = time.Second
	// stepWait bounds a step of making mirrors. It is less than what a server has
	// to be silent before one is promoted, so that none is taken away then.
	stepWait = silence * 3 / 4
)

// errNoServer: all servers have a copy already.
var errNoServer = errors.New("there is no other server for a mirror")

// keepMirrors makes the mirrors of the level leader. Where nobody says which
// level, streams that have mirrors have that.
func (s *Store) keepMirrors(ctx context.Context) error {
	switch {
	case s.opts.Level == state.ReplicateLeader && s.opts.Replicas > 1:
		return invalid("replication", fmt.Sprintf("leader is one replica and its mirrors, and the streams have %d replicas", s.opts.Replicas))
	case s.opts.Level == state.ReplicateLeader && s.conn.ConnectedClusterName() == "":
		return invalid("replication", "leader needs a cluster: this server is in none, and has nobody to mirror it")
	case s.opts.Level == state.ReplicateLeader:
		if err := s.makeMirrors(ctx); err != nil {
			return err
		}
	case s.opts.Replicas > 1 || s.conn.ConnectedClusterName() == "":
		return nil
	}
	all, err := s.allNames(ctx)
	if err != nil {
		return err
	}
	fewest := DefaultMirrors
	for i := range s.opts.Streams {
		fewest = min(fewest, len(s.listMirrors(i, all)))
	}
	if s.opts.Level == "" && fewest > 0 {
		s.opts.Level = state.ReplicateLeader
	}
	return nil
}

// listMirrors picks the names of the mirrors of a stream, and remembers them.
func (s *Store) listMirrors(i int, all []string) []string {
	var mirrors []string
	for _, k := range s.mirrorNumbers(i, all) {
		mirrors = append(mirrors, s.mirrorName(i, k))
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	s.names.mirrors[i] = mirrors
	return mirrors
}

// makeMirrors gives each stream its mirrors.
func (s *Store) makeMirrors(ctx context.Context) error {
	errs := make([]error, s.opts.Streams)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.mirror(ctx, i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// mirror gives a stream as many mirrors as it is to have, on different servers.
// Others may be doing the same. Unless it is said how many, one will do.
func (s *Store) mirror(ctx context.Context, i int) error {
	want := s.opts.Mirrors
	if want == 0 {
		want = DefaultMirrors
	}
	for began := time.Now(); ; {
		have, changed, err := s.mirrorOnce(ctx, i, want)
		if err == nil && changed {
			continue
		}
		if err == nil || errors.Is(err, state.ErrInvalid) {
			return err
		}
		enough := errors.Is(err, errNoServer) || time.Since(began) > stepWait
		if have > 0 && s.opts.Mirrors == 0 && enough {
			s.opts.Logger.Warn("nats store: a stream has fewer mirrors than it could", "stream", s.streamName(i), "mirrors", have, "error", err)
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("open nats store: make mirror %d of %d of %s: %w: %w", have+1, want, s.streamName(i), state.ErrUnavailable, err)
		}
	}
}

// mirrorOnce makes one more mirror, or takes one away that is no use, and says
// how many there were, and whether there is more to do.
func (s *Store) mirrorOnce(ctx context.Context, i, want int) (have int, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	if _, err := s.resolve(ctx, i); err != nil {
		return 0, false, err
	}
	all, err := s.allNames(ctx)
	if err != nil {
		return 0, false, err
	}
	origin, err := s.info(ctx, i, "", 0)
	if err != nil {
		return 0, false, err
	}
	used := []string{leaderName(&origin.StreamInfo)}
	ks := s.mirrorNumbers(i, all)
	for _, k := range ks {
		info, err := s.mirrorInfo(ctx, s.mirrorName(i, k))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound): // somebody else has taken it away
			return have, true, nil
		case err != nil: // its server is gone, maybe for a while
			have++
			continue
		case info.Config.Mirror == nil: // it was promoted just now
			return have, false, fmt.Errorf("%s is no mirror any more", info.Config.Name)
		case info.Config.Replicas > 1: // whoever made it has not placed it yet
			return have, true, s.place(ctx, i, k, used)
		case info.Config.Mirror.Name != s.called(i) || slices.Contains(used, leaderName(info)):
			return have, true, s.js.DeleteStream(ctx, info.Config.Name)
		}
		used = append(used, leaderName(info))
		have++
	}
	if have >= want {
		return have, false, nil
	}
	k := 1
	for slices.Contains(ks, k) || s.mirrorName(i, k) == s.called(i) {
		k++
	}
	if err := s.createMirror(ctx, i, k); err != nil {
		return have, false, err
	}
	return have, true, s.place(ctx, i, k, used)
}

func leaderName(info *jetstream.StreamInfo) string {
	if info.Cluster == nil {
		return ""
	}
	return info.Cluster.Leader
}

func (s *Store) mirrorInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, mirrorWait)
	defer cancel()
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// mirrorConfig is like that of the stream, as far as a mirror may be.
func (s *Store) mirrorConfig(i, k, replicas int) jetstream.StreamConfig {
	c := s.config(i, replicas)
	c.Name, c.Mirror = s.mirrorName(i, k), &jetstream.StreamSource{Name: s.called(i)}
	c.Subjects, c.RePublish, c.AllowAtomicPublish = nil, nil, false
	return c
}

// createMirror makes a mirror on as many servers as can be, for a choice of where
// it stays: which server gets a stream cannot be said otherwise.
func (s *Store) createMirror(ctx context.Context, i, k int) error {
	for replicas := 5; replicas > 1; replicas-- {
		_, err := s.js.CreateStream(ctx, s.mirrorConfig(i, k, replicas))
		var api *jetstream.APIError
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // somebody else is at it
		}
		if !errors.As(err, &api) || api.ErrorCode != codeNoPeers {
			return err
		}
	}
	return errNoServer
}

// place leaves a mirror on one server, which has no copy yet: it is made the
// leader, who is the one that stays. It returns when the mirror follows.
func (s *Store) place(ctx context.Context, i, k int, used []string) error {
	name := s.mirrorName(i, k)
	for began := time.Now(); ; {
		info, err := s.mirrorInfo(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // somebody else has taken it away
		}
		if err == nil && info.Config.Mirror == nil { // somebody has promoted it
			return nil
		}
		if err == nil && follows(info) {
			return s.heal(ctx, i, name)
		}
		if err == nil && info.Config.Replicas == 1 && time.Since(began) > followLong {
			return s.js.DeleteStream(ctx, name) // it is made anew
		}
		if err == nil && info.Config.Replicas > 1 {
			target := target(info, used, i+k)
			switch {
			case target == "" && time.Since(began) > placeLong:
				return errors.Join(errNoServer, s.js.DeleteStream(ctx, name))
			case target == "":
			case target == leaderName(info):
				_, err = s.js.UpdateStream(ctx, s.mirrorConfig(i, k, 1))
			default:
				err = s.lead(ctx, name, target)
			}
		}
		if !pause(ctx, placeWait) {
			return fmt.Errorf("place mirror %s: %w", name, errors.Join(err, ctx.Err()))
		}
	}
}

// follows reports whether a mirror is where it stays, alone, and has heard of its
// stream.
func follows(info *jetstream.StreamInfo) bool {
	c := info.Cluster
	alone := info.Config.Replicas == 1 && len(c.Replicas) == 0 && c.RaftGroup == "" && c.Desired == nil
	return alone && info.Mirror != nil && info.Mirror.Active >= 0
}

// heal writes to a stream until a mirror that was placed has it. A server that
// leaves a mirror's group, to keep it alone, may lose what it gets at that moment:
// it hands that to the group, counts it as stored and tells of no lag. With the
// next message it finds out and gets both. One that has much to get is not waited
// for: what is written to it now finds it alone.
func (s *Store) heal(ctx context.Context, i int, name string) error {
	for began := time.Now(); time.Since(began) < healLong; {
		seq, err := s.send(ctx, nuid.Next(), []put{{subject: s.ownSubject(i), ttl: time.Minute}})
		if errors.Is(err, state.ErrFull) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("write to what %s mirrors: %w", name, err)
		}
		for told := time.Now(); time.Since(told) < healWait; {
			info, err := s.mirrorInfo(ctx, name)
			if err == nil && info.State.LastSeq >= seq {
				return nil
			}
			if !pause(ctx, placeWait/5) {
				return fmt.Errorf("wait until %s follows: %w", name, errors.Join(err, ctx.Err()))
			}
		}
	}
	return nil
}

// target picks one of the servers that have a mirror and no other copy, and that
// are there: it takes minutes until one that is not is called offline. All who
// place a mirror pick the same, and spread is for the mirrors not to be on the same
// servers all. Empty: there is none.
func target(info *jetstream.StreamInfo, used []string, spread int) string {
	free := []string{leaderName(info)}
	for _, r := range info.Cluster.Replicas {
		if r.Current && !r.Offline {
			free = append(free, r.Name)
		}
	}
	free = slices.DeleteFunc(free, func(n string) bool { return n == "" || slices.Contains(used, n) })
	if len(free) == 0 {
		return ""
	}
	slices.Sort(free)
	return free[spread%len(free)]
}

// lead makes a server the leader of a stream, if it can be.
func (s *Store) lead(ctx context.Context, name, server string) error {
	question, err := json.Marshal(map[string]any{"placement": map[string]any{"preferred": server}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mirrorWait)
	defer cancel()
	_, err = s.conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+name, question)
	return err // whether it did is seen when it leads
}

// mirrored returns up to which sequence all mirrors of a stream have it. While one
// does not answer that is not known.
func (s *Store) mirrored(ctx context.Context, i int) (uint64, error) {
	upto := uint64(math.MaxUint64)
	if s.opts.Replicas > 1 || s.conn.ConnectedClusterName() == "" {
		return upto, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	all, err := s.allNames(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range s.listMirrors(i, all) {
		info, err := s.mirrorInfo(ctx, name)
		if err != nil {
			return 0, err
		}
		upto = min(upto, info.State.LastSeq)
	}
	return upto, nil
}

// purgeMirrors removes what stands under a subject from the mirrors, which follow
// what is written and not what is removed; up to a sequence, if that is not 0.
// Nobody waits for it: what stays is of no use to anybody.
func (s *Store) purgeMirrors(stream int, filter string, upto uint64) {
	s.names.mu.RLock()
	mirrors := s.names.mirrors[stream]
	s.names.mu.RUnlock()
	question := map[string]any{"filter": filter}
	if upto > 0 {
		question["seq"] = upto + 1
	}
	text, err := json.Marshal(question)
	for _, name := range mirrors {
		if err == nil {
			err = s.conn.Publish("$JS.API.STREAM.PURGE."+name, text)
		}
	}
	if err != nil {
		s.opts.Logger.Info("nats store: mirrors keep what was removed", "error", err)
	}
}
