package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

func alone(t *testing.T) Options {
	return Options{Name: "a", Listen: testkit.Addresses(t, 1)[0], Dir: filepath.Join(t.TempDir(), "a")}
}

// fails wants the start to fail with an error that has the text, within a time
// that is long for one that gives up by itself.
func fails(t *testing.T, opts Options, within time.Duration, want string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s, err := Start(ctx, opts)
	if err == nil {
		stop(t, s)
		t.Fatalf("started; want an error with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("%v; want an error with %q", err, want)
	}
	return err
}

func TestOneNodeKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	opts := alone(t)
	for n := range 2 {
		s := start(t, opts)
		v := vaultOf(t, s)
		if got, err := v.getLong(t.Context(), 7); err != nil || got != n {
			t.Errorf("start %d: found %d, %v", n, got, err)
		}
		if err := v.put(t.Context(), 7, n+1); err != nil {
			t.Errorf("put: %v", err)
		}
		stop(t, s)
	}
}

func TestFolderOfAnotherNodeIsRefused(t *testing.T) {
	opts := alone(t)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (identity{Format: identityFormat, Node: "b"}).write(opts.Dir); err != nil {
		t.Fatal(err)
	}
	fails(t, opts, patience, "the folder of node b, not of a")
	if err := (identity{Format: identityFormat + 1, Node: "a"}).write(opts.Dir); err != nil {
		t.Fatal(err)
	}
	fails(t, opts, patience, "written by another version")
	if err := os.WriteFile(filepath.Join(opts.Dir, identityFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, opts, patience, "is damaged")
}

// What can be seen of one node, and who is kept from it.
func TestOneNode(t *testing.T) {
	t.Parallel()
	opts := alone(t)
	s := start(t, opts)
	t.Run("FolderIsForOneProcess", func(t *testing.T) {
		other := opts
		other.Listen = testkit.Addresses(t, 1)[0]
		if err := fails(t, other, patience, "another process uses it"); !errors.Is(err, ErrInUse) {
			t.Errorf("%v is not ErrInUse", err)
		}
	})
	t.Run("AddressInUseIsSaidAtOnce", func(t *testing.T) {
		other := opts
		other.Name, other.Dir = "b", t.TempDir()
		fails(t, other, patience, "address already in use")
	})
	t.Run("ClientsOfOtherProcessesAreRefused", func(t *testing.T) { refusesClients(t, s.server.ClientURL()) })
	t.Run("MembersAndStreamsAreKnown", func(t *testing.T) {
		vaultOf(t, s)
		streams, err := s.Streams(t.Context())
		if err != nil || len(streams) != vaultStreams || streams[0].Leader != "a" || streams[0].Replicas != 1 || streams[0].Survives() != 0 || !streams[0].KeptBy("a") {
			t.Errorf("streams %+v, %v", streams, err)
		}
		members, err := s.Members(t.Context())
		want := Member{Name: "a", Self: true, Connected: true, Streams: vaultStreams, Leads: vaultStreams}
		if err != nil || len(members) != 1 || members[0] != want {
			t.Errorf("members %+v, %v", members, err)
		}
		if got := s.replicas(); got != 1 {
			t.Errorf("one node is to keep %d replicas", got)
		}
	})
}

func refusesClients(t *testing.T, url string) {
	t.Helper()
	for what, opts := range map[string][]natsgo.Option{
		"nobody":  nil,
		"a guess": {natsgo.UserInfo(routeUser, "guess")},
	} {
		conn, err := natsgo.Connect(url, opts...)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, natsgo.ErrAuthorization) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
