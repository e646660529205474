package embedded

import (
	"context"
	"fmt"
	"time"
)

const (
	// growInterval is how often a node looks whether there are more.
	growInterval = time.Second
	// growTimeout bounds one look, and what is done then.
	growTimeout = 30 * time.Second
)

// grow has the streams kept by more nodes when there are more. It never has
// them kept by fewer: a node that is gone for a while comes back.
func (s *Server) grow(ctx context.Context) {
	tick := time.NewTicker(growInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.raise(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("sessions are not yet kept by as many nodes as there are", "error", err)
		}
	}
}

// raise does it once, if this is the node to do it.
func (s *Server) raise(ctx context.Context) error {
	want := s.replicas()
	if want < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, growTimeout)
	defer cancel()
	streams := s.js.ListStreams(ctx)
	for info := range streams.Info() {
		if info.Config.Replicas >= want || info.Config.Mirror != nil {
			continue
		}
		config := info.Config
		config.Replicas = want
		if _, err := s.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("have %s kept by %d nodes: %w", config.Name, want, err)
		}
		s.opts.Logger.Info("sessions are kept by more nodes", "stream", config.Name, "nodes", want)
	}
	return streams.Err()
}

// replicas is how many nodes may keep each stream, judged by the node that
// leads the metadata, which alone knows who is there; elsewhere it is 0. It is
// odd: one more than that needs a larger majority, and survives no more.
func (s *Server) replicas() int {
	info, err := s.server.Jsz(nil)
	if err != nil || info.Meta == nil || info.Meta.Leader != s.opts.Name {
		return 0
	}
	there := 1
	for _, p := range info.Meta.Replicas {
		if p.Current && !p.Offline {
			there++
		}
	}
	want := min(there, s.opts.Replicas)
	return want - (want+1)%2
}
