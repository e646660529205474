package main

import (
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
)

// nodes says of each node of the cluster that keeps the sessions what would
// happen if it died. Other stores have none.
func (d *doctor) nodes(ctx context.Context, report func(admin.Finding) error) error {
	if d.node == nil {
		return nil
	}
	streams, err := d.node.Streams(ctx)
	if err != nil {
		return report(named("nodes", admin.Failed(d.advice.read, err)))
	}
	members, err := d.node.Members(ctx)
	if err != nil {
		return report(named("nodes", admin.Failed(d.advice.read, err)))
	}
	for _, m := range members {
		if err := report(named("node", examineNode(&m, streams))); err != nil {
			return err
		}
	}
	return nil
}

func examineNode(m *embedded.Member, streams []embedded.Stream) admin.Finding {
	what := fmt.Sprintf("%s keeps %d of %d parts and leads %d", m.Name, m.Streams, len(streams), m.Leads)
	if !m.Connected {
		return admin.Warning("start it again with its folder, or with an empty one if that is lost", "%s is not connected: %s", m.Name, what)
	}
	if m.Behind > 0 {
		return admin.Warning("wait until it has caught up before you stop another", "%s; it has not yet got all of %d of them", what, m.Behind)
	}
	switch lost := lostWith(m.Name, streams); {
	case lost > 0 && len(streams) > 0 && len(streams[0].Mirrors) > 0:
		return admin.OK("%s; if it died, what it keeps could not be reached until it is back, or is given up for its mirrors by coatcheck store promote", what)
	case lost > 0 && len(streams) > 0 && streams[0].Replicas == 1:
		return admin.Warning("start two more nodes, so that others have what it has", "%s; if it died, what it keeps could not be reached until it is back", what)
	case lost > 0:
		return admin.Warning("start the others again", "%s; if it died, %d parts had no majority, and could not be reached until one is back", what, lost)
	}
	return admin.OK("%s; if it died, what it leads would wait 4 to 9 s for another leader, and nothing would be lost", what)
}

// lostWith is how many of the streams could not be reached without the node.
func lostWith(node string, streams []embedded.Stream) int {
	lost := 0
	for _, s := range streams {
		if s.KeptBy(node) && s.Survives() < 1 {
			lost++
		}
	}
	return lost
}
