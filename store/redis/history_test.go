package redis_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// through connects to a proxy, whatever the address.
func through(p *testkit.Proxy) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", p.Addr())
	}
}

func TestCutConnectionsLeaveALinearizableHistory(t *testing.T) {
	server := redisserver.Start(t)
	p := testkit.NewProxy(t, server.Addr())
	s := open(t, redis.Options{Addresses: []string{server.Addr()}, Dial: through(p), Mode: redis.Standalone})
	p.CutReplies(10)
	unknown := history.Run(t, s, 8, func(func(int64)) {})
	p.Calm()
	if p.Cuts() == 0 || unknown == 0 {
		t.Errorf("%d connections cut, %d outcomes unknown: nothing was tested", p.Cuts(), unknown)
	}
	checkConsistency(t, server.Addr())
}

// A server that is killed, and starts again with what it had synced, leaves no
// more of a mark than answers that were lost.
func TestKillsLeaveALinearizableHistory(t *testing.T) {
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	history.Run(t, s, 8, func(reached func(int64)) {
		for n := range int64(3) {
			reached(200 + 250*n)
			server.Kill()
			server.Launch()
		}
	})
	checkConsistency(t, server.Addr())
}

// A server that is stopped answers late, and some callers have gone by then.
func TestPausesLeaveALinearizableHistory(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}, Timeout: time.Second})
	history.Run(t, s, 8, func(reached func(int64)) {
		for n := range int64(2) {
			reached(200 + 350*n)
			server.Suspend()
			time.Sleep(2500 * time.Millisecond) // longer than callers and connections wait
			server.Resume()
		}
	})
	checkConsistency(t, server.Addr())
}
