package embedded

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A leader that writes is always some entries ahead of one of the others: that
// is no reason to let an operator wait.
func TestWhoKeepsUpHasCaughtUp(t *testing.T) {
	for name, c := range map[string]struct {
		peer jetstream.PeerInfo
		want bool
	}{
		"has all":            {jetstream.PeerInfo{Current: true}, true},
		"lacks what is new":  {jetstream.PeerInfo{Lag: 3, Active: time.Second / 2}, true},
		"lacks a lot":        {jetstream.PeerInfo{Lag: 30_000, Active: time.Second / 2}, false},
		"is not there":       {jetstream.PeerInfo{Current: true, Offline: true}, false},
		"was heard long ago": {jetstream.PeerInfo{Lag: 3, Active: time.Minute}, false},
	} {
		if got := caughtUp(&c.peer); got != c.want {
			t.Errorf("one that %s has caught up: %v", name, got)
		}
	}
}
