package open

import (
	"context"
	"fmt"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

func parseNATS(text string) (URL, error) {
	t, err := nats.ParseURL(text)
	if err != nil {
		return URL{}, err
	}
	scheme := "nats"
	if t.TLS != nil {
		scheme = "tls"
	}
	return URL{scheme: NATS, text: text, shown: scheme + "://" + strings.Join(t.Servers, ",")}, nil
}

// openNATS opens the store with the level asked for, since its URL may have
// several hosts, which package url does not understand.
func (u URL) openNATS(ctx context.Context, opts Options) (Store, error) {
	t, err := nats.ParseURL(u.text)
	if err != nil {
		return nil, err
	}
	if opts.Replication != "" {
		t.Options.Level = opts.Replication
	}
	t.Options.Logger = opts.Logger
	s, err := t.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u, err)
	}
	return s, nil
}
