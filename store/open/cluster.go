package open

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
)

// openCluster starts the node that the URL names, and opens what its cluster
// keeps.
func (u URL) openCluster(ctx context.Context, opts Options) (Store, error) {
	node, err := embedded.ParseURL(u.text)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u, err) // the environment has changed since
	}
	if opts.MustExist {
		if _, err := os.Stat(node.Dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no node at %s: give the --store of the server, or --admin URL while it runs", node.Dir)
		}
	}
	node.Logger = opts.Logger
	s, err := embedded.Open(ctx, node)
	if errors.Is(err, embedded.ErrInUse) {
		return nil, fmt.Errorf("open %s: %w; to ask the server that runs it, write --admin URL", u, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u, err)
	}
	if opts.OnNode != nil {
		opts.OnNode(s.Node())
	}
	return s, nil
}
