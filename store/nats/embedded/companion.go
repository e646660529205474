package embedded

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// A clustered server elects nobody before another has connected to it, though
// it is the only one with a vote. So a node alone is given another for the time
// of its start: one without data and vote, in this process, gone when the
// election is over.
func (s *Server) companion(cluster string) (stop func(), err error) {
	c, err := server.NewServer(&server.Options{
		ServerName: s.opts.Name + "-companion-" + rand.Text()[:8],
		Host:       "127.0.0.1", Port: server.RANDOM_PORT,
		Users:  []*server.User{{Username: rand.Text(), Password: rand.Text()}},
		Routes: s.routeTo(s.opts.Listen),
		Cluster: server.ClusterOpts{
			Name: cluster, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoAdvertise: true,
			Username: routeUser, Password: s.password(),
			TLSConfig: s.tls, TLSTimeout: tlsTimeout.Seconds(),
		},
		NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start beside the node: %w", err)
	}
	c.SetLoggerV2(newJournal(s.opts.Logger, s.password()), false, false, false)
	s.running.Go(c.Start)
	return func() { c.Shutdown(); c.WaitForShutdown() }, nil
}

// alone reports whether this node is the only one of its cluster.
func (s *Server) alone() bool {
	text, err := os.ReadFile(filepath.Join(s.opts.Dir, filepath.FromSlash(peersFile)))
	return err == nil && peersSize(text) == 1
}
