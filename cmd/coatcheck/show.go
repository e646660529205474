package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

type showCmd struct {
	sessionsFlags `embed:""`

	Ref  string `arg:"" help:"The session, by the first part of its id."`
	Data bool   `env:"-" help:"Show the values it holds too, not only their names and sizes."`
}

func (c *showCmd) Run(a *app) error {
	ref, err := parseRef(c.Ref)
	if err != nil {
		return err
	}
	return c.with(a.ctx, func(sessions admin.Sessions) error {
		d, err := sessions.Show(a.ctx, ref, c.Data)
		if errors.Is(err, session.ErrNotFound) {
			return fmt.Errorf("there is no live record %s: ask \"coatcheck sessions explain\" what became of it", ref)
		}
		if err != nil {
			return err
		}
		return c.print(a, d)
	})
}

func (c *showCmd) print(a *app, d admin.Detail) error {
	p := newPrinter(a.stdout, c.JSON)
	if c.JSON {
		return p.line(d)
	}
	for _, field := range [][2]string{
		{"ref", d.Ref.String()}, {"kind", d.Kind}, {"user", d.User}, {"state", d.State},
		{"created", clock(d.CreatedAt)}, {"last accessed", clock(d.LastAccessed)}, {"expires", clock(d.ExpiresAt)},
		{"owner", d.Owner}, {"epoch", strconv.FormatUint(d.Epoch, 10)}, {"version", strconv.FormatUint(d.Version, 10)},
		{"address", d.Address}, {"user agent", d.UserAgent}, {"protocol", d.ProtocolVersion}, {"capabilities", string(d.Capabilities)},
	} {
		if err := p.cells(field[0], field[1]); err != nil {
			return err
		}
	}
	for i := range d.Replicas {
		if err := p.cells("replica", describeNode(&d.Replicas[i])); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(d.DataBytes)) {
		value := fmt.Sprintf("%d bytes", d.DataBytes[k])
		if c.Data {
			value = string(d.Data[k])
		}
		if err := p.cells("data "+printable(k), value); err != nil {
			return err
		}
	}
	return p.flush()
}

// describeNode says what a node of the database is, and how it stands.
func describeNode(n *state.Node) string {
	switch {
	case n.Leader:
		return n.Name + ", leader"
	case !n.Connected:
		return n.Name + ", catching up"
	case n.Behind < 0:
		return n.Name + ", connected"
	}
	return fmt.Sprintf("%s, %d behind", n.Name, n.Behind)
}
