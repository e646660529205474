package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// names are those under which the servers know the streams: streamName, until
// a mirror takes the place of one, which keeps its own.
type names struct {
	mu      sync.RWMutex // guards both below
	of      []string
	mirrors [][]string // of each stream, as far as they were heard of
}

func (n *names) init(s *Store) {
	n.of, n.mirrors = make([]string, s.opts.Streams), make([][]string, s.opts.Streams)
	for i := range n.of {
		n.of[i] = s.streamName(i)
	}
}

// called is the name of the stream that keeps the subjects of streamName(i).
func (s *Store) called(i int) string {
	s.names.mu.RLock()
	defer s.names.mu.RUnlock()
	return s.names.of[i]
}

// resolve asks which stream it is.
func (s *Store) resolve(ctx context.Context, i int) (string, error) {
	var name string
	err := again(ctx, func(ctx context.Context) (err error) {
		name, err = s.js.StreamNameBySubject(ctx, s.streamName(i)+".clock")
		return err
	})
	if err != nil {
		return "", err
	}
	if _, ok := s.mirrorNumber(i, name); !ok && name != s.streamName(i) {
		return "", invalid("name", fmt.Sprintf("the stream %s is not one of this store's", name))
	}
	s.name(i, name)
	return name, nil
}

func (s *Store) name(i int, name string) {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	s.names.of[i] = name
}

// moved is for the answer of a server that has no such stream: a mirror may have
// taken its place, and the next question is for that. This one was not answered.
func (s *Store) moved(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	_, err := s.resolve(ctx, i)
	return err
}

// mirrorName is that of a mirror, which are counted from 1.
func (s *Store) mirrorName(i, k int) string { return s.streamName(i) + "-m" + strconv.Itoa(k) }

// mirrorNumber reports whether a name is that of a mirror of a stream, and of
// which.
func (s *Store) mirrorNumber(i int, name string) (k int, ok bool) {
	text, ok := strings.CutPrefix(name, s.streamName(i)+"-m")
	k, err := strconv.Atoi(text)
	return k, ok && err == nil && name == s.mirrorName(i, k)
}

// allNames are those of all streams of the account. The leader of the servers
// answers, whoever of them is there.
func (s *Store) allNames(ctx context.Context) ([]string, error) {
	var all []string
	err := again(ctx, func(ctx context.Context) error {
		all = nil
		list := s.js.StreamNames(ctx)
		for name := range list.Name() {
			all = append(all, name)
		}
		return list.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("ask nats for its streams: %w: %w", state.ErrUnavailable, err)
	}
	return all, nil
}

// again asks until there is an answer: while the servers have no leader, nobody
// answers.
func again(ctx context.Context, ask func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, readWait)
		err := ask(try)
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) || !pause(ctx, 20*time.Millisecond) {
			return err
		}
	}
}

// mirrorNumbers picks those of one stream, in their order, and not the one that
// is in its place.
func (s *Store) mirrorNumbers(i int, all []string) []int {
	var ks []int
	for _, name := range all {
		if k, ok := s.mirrorNumber(i, name); ok && name != s.called(i) {
			ks = append(ks, k)
		}
	}
	slices.Sort(ks)
	return ks
}
