package nats_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

func TestParseURLReadsEverything(t *testing.T) {
	got, err := nats.ParseURL("nats://ann:s%40cret@h1,h2:7000,[::1]:5?name=shop&streams=4&replicas=3&replication=quorum" +
		"&sync=always&timeout=2s&clock_error=20ms&unswept=48h")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"h1:4222", "h2:7000", "[::1]:5"}; !slices.Equal(got.Servers, want) {
		t.Errorf("servers %v, want %v", got.Servers, want)
	}
	want := nats.Options{
		Name: "shop", Streams: 4, Replicas: 3, Level: state.ReplicateQuorum, Durability: state.Synced,
		Timeout: 2 * time.Second, ClockError: 20 * time.Millisecond, Unswept: 48 * time.Hour,
	}
	o := got.Options
	if o.Name != want.Name || o.Streams != want.Streams || o.Replicas != want.Replicas || o.Level != want.Level ||
		o.Durability != want.Durability || o.Timeout != want.Timeout || o.ClockError != want.ClockError || o.Unswept != want.Unswept {
		t.Errorf("got %+v, want %+v", o, want)
	}
	if got.Username != "ann" || got.Password != "s@cret" || got.TLS != nil {
		t.Errorf("login %q, %q", got.Username, got.Password)
	}
	if got, err := nats.ParseURL("nats://h?replication=leader&mirrors=1"); err != nil || got.Options.Level != state.ReplicateLeader || got.Options.Mirrors != 1 {
		t.Errorf("leader with a mirror: %+v, %v", got.Options, err)
	}
	if got, err := nats.ParseURL("tls://token@h"); err != nil || got.TLS == nil || got.Token != "token" {
		t.Errorf("tls with a token: %+v, %v", got, err)
	}
}

func TestParseURLRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for url, says := range map[string]string{
		"": "nats://HOST:4222", "h:4222": "nats://HOST:4222", "http://h": "neither nats nor tls", "nats://": "nats://HOST:4222",
		"nats://h:0": "port", "nats://u:hunter2@h:x": "port", "nats://u:hunter2@": "nats://HOST:4222", "nats://u:hunter2%zz@h": "%XX",
		"nats://h?streams=0": "streams", "nats://h?streams=257": "streams", "nats://h?replicas=9": "replicas", "nats://h?pool=3": "pool",
		"nats://h?timeout=5": "timeout", "nats://h?timeout=1s&timeout=2s": "twice", "nats://h?name=a.b": "name", "nats://h?sync=never": "sync",
		"nats://h?replication=all&replicas=1": "two replicas", "nats://h?replication=most": "quorum and all", "nats://h?replication=leader&replicas=3": "one replica", "nats://h?mirrors=2&replication=all": "replication=leader", "nats://h?replication=leader&mirrors=5": "from 1 to 4",
		"nats://h?replication=none&replicas=3": "quorum", "nats://h?replication=quorum&replicas=1": "two replicas",
		"nats://h?ca=/tmp/x": "scheme tls", "tls://h?ca=/does/not/exist": "PEM", "tls://h?cert=/does/not/exist": "PEM", "nats://h?unswept=1h": "24h",
	} {
		_, err := nats.ParseURL(url)
		if !errors.Is(err, state.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something of %q", url, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestPasswordsAreUsedAndNotRepeated(t *testing.T) {
	server := natsserver.Start(t, "-user", "ann", "-password", "hunter2")
	s, err := nats.OpenURL(within(t, time.Minute), "nats://ann:hunter2@"+server.Addr()+"?streams=1&name=shop")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(context.Background(), create(t, s, "alice")); err != nil {
		t.Error(err)
	}
	_, err = nats.OpenURL(within(t, time.Minute), "nats://ann:hunter3@"+server.Addr())
	if !errors.Is(err, state.ErrUnavailable) || strings.Contains(err.Error(), "hunter3") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestUnreachableServerIsNamed(t *testing.T) {
	_, err := nats.OpenURL(within(t, time.Minute), "nats://127.0.0.1:1")
	if !errors.Is(err, state.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestTheNumberOfStreamsAndReplicasMustFit(t *testing.T) {
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	open(t, conn, nats.Options{})
	for _, o := range []nats.Options{{Streams: 3}, {Level: state.ReplicateQuorum}, {Level: state.ReplicateAll}, {Streams: 2, Replicas: 3}} {
		if _, err := nats.Open(within(t, time.Minute), conn, o); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
