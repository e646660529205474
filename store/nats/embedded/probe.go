package embedded

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"time"
)

// probeTimeout is long for a node that is there.
const probeTimeout = 2 * time.Second

// addresses are those of the peers, as they are now.
func (o *Options) addresses(ctx context.Context) []string {
	name, ok := strings.CutPrefix(o.Peers[0], dnsPrefix)
	if !ok {
		return o.Peers
	}
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil // it was checked
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil // nobody is there yet
	}
	var all []string
	for _, ip := range ips {
		all = append(all, net.JoinHostPort(ip, port))
	}
	return all
}

// more reports whether the name of the peers resolves to others than those, too.
func (o *Options) more(ctx context.Context, peers []string) bool {
	return slices.ContainsFunc(o.addresses(ctx), func(a string) bool { return !slices.Contains(peers, a) })
}

// A greeting is what a node says first to whoever connects.
type greeting struct {
	Cluster string `json:"cluster"`
	Node    string `json:"server_name"`
}

// greetings are those of the other nodes that answer.
func (o *Options) greetings(ctx context.Context, config *tls.Config) map[string]greeting {
	found := map[string]greeting{}
	for _, address := range o.addresses(ctx) {
		if address == o.Listen {
			continue
		}
		g, err := greet(ctx, address, o.named(address, config))
		if err == nil && g.Node != o.Name {
			found[address] = g
		}
	}
	return found
}

// named is the TLS configuration for a node, whose certificate has the name by
// which it is a peer.
func (o *Options) named(address string, config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	if name, ok := strings.CutPrefix(o.Peers[0], dnsPrefix); ok {
		address = name
	}
	config = config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address) // it was checked
	return config
}

// greet asks a node who it is.
func greet(ctx context.Context, address string, config *tls.Config) (g greeting, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return g, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return g, err
		}
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	line, err := bufio.NewReaderSize(conn, 32<<10).ReadSlice('\n')
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal([]byte(strings.TrimPrefix(string(line), "INFO ")), &g)
}
