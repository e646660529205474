package redis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// connections counts a client's connections by what the server says.
func connections(s *redisserver.Server, name string) int {
	return strings.Count(s.Do("CLIENT", "LIST"), " name="+name+" ")
}

func awaitConnections(t *testing.T, s *redisserver.Server, name string, want int) {
	t.Helper()
	eventually(t, "connections", func() error {
		if got := connections(s, name); got != want {
			return errors.New(s.Do("CLIENT", "LIST"))
		}
		return nil
	})
}

func TestPoolHoldsItsBounds(t *testing.T) {
	server := redisserver.Start(t)
	opts, err := redis.ParseURL("redis://" + server.Addr() +
		"?pool_max=4&pool_min_idle=2&pool_idle_timeout=200ms&client_name=pooled&pipelines=1&connect_timeout=2s")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, opts)
	// One is pipelined and always there, two are kept idle.
	awaitConnections(t, server, "pooled", 1+2)

	release, lent := make(chan struct{}), make(chan error, 4)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_ = s.WithConn(context.Background(), func(ctx context.Context, c rueidis.DedicatedClient) error {
				lent <- c.Do(ctx, c.B().Ping().Build()).Error()
				<-release
				return nil
			})
		})
	}
	for range 4 {
		if err := <-lent; err != nil {
			t.Error(err)
		}
	}
	awaitConnections(t, server, "pooled", 1+4)

	err = s.WithConn(within(t, 50*time.Millisecond), func(context.Context, rueidis.DedicatedClient) error {
		t.Error("a fifth connection was lent")
		return nil
	})
	if !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with the pool exhausted: %v", err)
	}
	// Other operations do not need the pool.
	create(t, s, "alice")
	close(release)
	wg.Wait()
	awaitConnections(t, server, "pooled", 1+2)
}

func TestWithConnHasTheConnectionToItself(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	err := s.WithConn(context.Background(), func(ctx context.Context, c rueidis.DedicatedClient) error {
		results := c.DoMulti(ctx, c.B().Multi().Build(), c.B().Set().Key("mine").Value("1").Build(), c.B().Exec().Build())
		return results[2].Error()
	})
	if err != nil || server.Do("GET", "mine") != "1" {
		t.Errorf("a transaction: %v", err)
	}
	wrong := errors.New("wrong")
	if err := s.WithConn(context.Background(), func(context.Context, rueidis.DedicatedClient) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}

func TestCallersOwnClientStaysOpen(t *testing.T) {
	server := redisserver.Start(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := redis.New(context.Background(), client, redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := create(t, s, "alice")
	if _, err := s.Get(context.Background(), key); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Do(context.Background(), client.B().Ping().Build()).Error(); err != nil {
		t.Errorf("the client was closed with the store: %v", err)
	}
}
