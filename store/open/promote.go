package open

import (
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/store/nats"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
)

// Promote puts mirrors in the place of what was on a server that is lost for good;
// see [nats.Promote]. Of a cluster: it runs the node of the URL meanwhile. Other
// stores have no mirrors.
func (u URL) Promote(ctx context.Context, dry bool) (promotions []nats.Promotion, err error) {
	switch u.scheme {
	case NATS:
		var t nats.Target
		if t, err = nats.ParseURL(u.text); err == nil {
			promotions, err = t.Promote(ctx, dry)
		}
	case Cluster:
		var opts embedded.Options
		if opts, err = embedded.ParseURL(u.text); err == nil {
			promotions, err = embedded.Promote(ctx, opts, dry)
		}
	default:
		return nil, fmt.Errorf("%s has no mirrors: give a nats: or cluster: store with replication=leader", u)
	}
	if err != nil {
		return promotions, fmt.Errorf("promote mirrors of %s: %w", u, err)
	}
	return promotions, nil
}
