package nats

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What a server says of its followers counts only if it has the message, leads,
// and has heard of them.
func TestOnlyWhatALeaderKnowsConfirms(t *testing.T) {
	current := func() *jetstream.PeerInfo { return &jetstream.PeerInfo{Current: true} }
	for what, c := range map[string]struct {
		last  uint64
		led   string
		peers []*jetstream.PeerInfo
		have  int
	}{
		"all have it":                  {7, "a", []*jetstream.PeerInfo{current(), current()}, 2},
		"more was written since":       {9, "a", []*jetstream.PeerInfo{current(), current()}, 2},
		"one is behind":                {7, "a", []*jetstream.PeerInfo{{Lag: 1}, current()}, 1},
		"one gets copies":              {7, "a", []*jetstream.PeerInfo{{Lag: 40}, {Current: true, Lag: 3}}, 0},
		"one was never heard of":       {7, "a", []*jetstream.PeerInfo{{Offline: true}, current()}, 1},
		"one is not listed":            {7, "a", []*jetstream.PeerInfo{current()}, 1},
		"it was stopped, and is stale": {6, "a", []*jetstream.PeerInfo{current(), current()}, 0},
		"there is no leader":           {7, "", []*jetstream.PeerInfo{current(), current()}, 0},
	} {
		info := &jetstream.StreamInfo{
			Config:  jetstream.StreamConfig{Replicas: 3},
			State:   jetstream.StreamState{LastSeq: c.last},
			Cluster: &jetstream.ClusterInfo{Leader: c.led, Replicas: c.peers},
		}
		if have, need := confirmed(info, 7); have != c.have || need != 2 {
			t.Errorf("%s: %d of %d, want %d of 2", what, have, need, c.have)
		}
	}
	single := &jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: 1}, State: jetstream.StreamState{LastSeq: 7}}
	if have, need := confirmed(single, 7); have != 0 || need != 0 {
		t.Errorf("one server: %d of %d", have, need)
	}
}
