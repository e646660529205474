package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Pauses between two looks at who has a write.
const (
	shortestLook = time.Millisecond
	longestLook  = 50 * time.Millisecond
)

// write writes all messages or none, and returns when they have reached the
// level of the store.
func (s *Store) write(ctx context.Context, stream int, puts ...put) error {
	seq, err := s.putAll(ctx, stream, puts...)
	if err != nil {
		return err
	}
	return s.confirm(ctx, stream, seq)
}

// confirm waits until each server that is to keep a stream has the message with
// a sequence, which was acknowledged, if that is the level of the store. If the
// context ends before, the majority has it: that is [state.ErrBelowLevel].
func (s *Store) confirm(ctx context.Context, stream int, seq uint64) error {
	if s.opts.Level != state.ReplicateAll || seq == 0 {
		return nil
	}
	have, need := 0, s.opts.Replicas-1
	for wait := shortestLook; ; wait = min(2*wait, longestLook) {
		if info, err := s.look(ctx, stream); err == nil {
			have, need = confirmed(&info.StreamInfo, seq)
			need = max(need, s.opts.Replicas-1) // none may have been taken away
		}
		if have >= need {
			return nil
		}
		if !pause(ctx, wait) {
			below := &state.BelowLevelError{Level: state.ReplicateAll, Have: have, Need: need}
			return fmt.Errorf("write to nats: %w: %w", below, ctx.Err())
		}
	}
}

// look asks the leader of a stream about it, together with others.
func (s *Store) look(ctx context.Context, stream int) (*infoAnswer, error) {
	ask := func(ctx context.Context) (*infoAnswer, error) { return s.infoUnheld(ctx, stream) }
	return s.looks[stream].get(ctx, s, ask)
}

// confirmed returns how many followers are known to have the message with a
// sequence, and how many there are to be.
//
// The leader of a stream counts for each follower how many of the committed
// entries of its log that has not yet stored, and 0 is all of them. It does so
// of what a follower has told it in its own time as the leader: one that is new
// counts from nothing. But a server that was stopped may still take itself for
// the leader and answer, and it knows of less. So its answer counts only if it
// has the message itself: what it has is committed, and is in the same place
// in every log, so followers without lag have it too. Whether it still is the
// leader does not matter then: what they have they keep.
func confirmed(info *jetstream.StreamInfo, seq uint64) (have, need int) {
	need = info.Config.Replicas - 1
	if info.State.LastSeq < seq || info.Cluster == nil || info.Cluster.Leader == "" {
		return 0, need
	}
	for _, r := range info.Cluster.Replicas {
		// Without Current the lag is 0 of one that the server knows nothing of.
		if r.Current && r.Lag == 0 {
			have++
		}
	}
	return have, need
}
