package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// longSilence is more than any replica is silent that lives.
const longSilence = time.Minute

// members says of each replica on the store what would happen if it died. A
// store on which only single servers were is not worth a word.
func (d *doctor) members(ctx context.Context, report func(admin.Finding) error) error {
	members, err := cluster.Members(ctx, d.store, d.namespace)
	if err != nil {
		return report(named("replicas", admin.Failed(d.advice.read, err)))
	}
	if len(members) == 0 {
		return nil
	}
	owned, err := d.owned(ctx)
	if err != nil {
		return report(named("replicas", admin.Failed(d.advice.read, err)))
	}
	heirs := 0
	for _, m := range members {
		if takesOver(&m) {
			heirs++
		}
	}
	for _, m := range members {
		others := heirs
		if takesOver(&m) {
			others--
		}
		if err := report(named("replica", examineMember(&m, owned[m.Name], others))); err != nil {
			return err
		}
	}
	return nil
}

func takesOver(m *cluster.Member) bool {
	return m.State == cluster.Serving && m.Silent <= longSilence && m.Advertise != ""
}

func examineMember(m *cluster.Member, sessions, others int) admin.Finding {
	what := fmt.Sprintf("%s at %s, version %s, %s, last heartbeat %v ago, %d sessions live",
		m.Name, m.Advertise, orNone(m.Version), m.State, m.Silent.Round(10*time.Millisecond), sessions)
	switch {
	case m.Advertise == "":
		return admin.Warning("is it of a much newer version? Update the others", "%s says nothing of itself that this version understands", m.Name)
	case m.Silent > longSilence:
		return admin.Warning("nothing needs to be done: it is gone, and others take over what was live in it with the next requests", "%s", what)
	case others == 0:
		return admin.Warning("start another replica on this store, so that clients need not wait", "%s; if it died, nobody would serve until a replica is started; sessions would be there", what)
	}
	return admin.OK("%s; if it died, its calls would fail, and %d others would serve its sessions once its heartbeat timeout is over", what, others)
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// owned counts what is live in each replica.
func (d *doctor) owned(ctx context.Context) (map[string]int, error) {
	owned := map[string]int{}
	for r, err := range d.store.List(ctx, state.Query{Namespace: d.namespace}) {
		if err != nil {
			return nil, err
		}
		if r.Owner != "" {
			owned[r.Owner]++
		}
	}
	return owned, nil
}
