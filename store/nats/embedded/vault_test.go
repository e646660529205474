package embedded

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A vault keeps numbers, to see which of them are lost.
type vault struct{ js jetstream.JetStream }

// vaultStreams are enough for their leaders to be spread.
const vaultStreams = 3

func openVault(ctx context.Context, s *Server, replicas int) (*vault, error) {
	js, err := jetstream.New(s.Conn())
	if err != nil {
		return nil, err
	}
	for i := range vaultStreams {
		name := fmt.Sprintf("V%d", i)
		for {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, MaxMsgsPerSubject: 1, Replicas: replicas})
			if err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				break
			}
			if ctx.Err() != nil {
				return nil, err
			}
			time.Sleep(100 * time.Millisecond) // until there is a leader
		}
	}
	return &vault{js: js}, nil
}

func subject(key int) string { return fmt.Sprintf("V%d.%d", key%vaultStreams, key) }

// put returns without an error when the number is acknowledged.
func (v *vault) put(ctx context.Context, key, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := v.js.Publish(ctx, subject(key), []byte(strconv.Itoa(n)))
	return err
}

// get returns the number that is there, 0 if none.
func (v *vault) get(ctx context.Context, key int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := v.js.Stream(ctx, fmt.Sprintf("V%d", key%vaultStreams))
	if err != nil {
		return 0, err
	}
	msg, err := s.GetLastMsgForSubject(ctx, subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(msg.Data))
}

// getLong gets until there is an answer.
func (v *vault) getLong(ctx context.Context, key int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := v.get(ctx, key)
		if err == nil || ctx.Err() != nil {
			return n, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A load puts ever larger numbers under its keys.
type load struct {
	stopping chan struct{}
	all      sync.WaitGroup

	mu    sync.Mutex
	acked map[int]int
}

// startLoad has each of the keys from..to-1 written by a goroutine of its own.
// said hears of each number that was acknowledged.
func startLoad(ctx context.Context, v *vault, from, to int, said func(key, n int)) *load {
	l := &load{stopping: make(chan struct{}), acked: map[int]int{}}
	for key := from; key < to; key++ {
		l.all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-l.stopping:
					return
				case <-time.After(time.Millisecond):
				}
				// One that failed may be stored, and a later one replaces it.
				if err := v.put(ctx, key, n); err == nil {
					l.note(key, n)
					said(key, n)
				}
			}
		})
	}
	return l
}

func (l *load) note(key, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = n
}

// least is the number that the slowest key has come to.
func (l *load) least(keys int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acked) < keys {
		return 0
	}
	least := int(^uint(0) >> 1)
	for _, n := range l.acked {
		least = min(least, n)
	}
	return least
}

// stop returns what was acknowledged last.
func (l *load) stop() map[int]int {
	close(l.stopping)
	l.all.Wait()
	return l.acked
}
