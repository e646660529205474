package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

type showCmd struct {
	sessionsFlags `embed:""`

	Ref  string `arg:"" help:"The session, by the first part of its id."`
	Data bool   `env:"-" help:"Show the values it holds too, not only their names and sizes."`
}

// detail is a session with all that may be shown of it. What is never shown,
// the hash of its secret included, is not read.
type detail struct {
	row
	Version      uint64                     `json:"version"`
	Epoch        uint64                     `json:"epoch"`
	Capabilities json.RawMessage            `json:"client_capabilities,omitempty"`
	DataBytes    map[string]int             `json:"data_bytes"`
	Data         map[string]json.RawMessage `json:"data,omitempty"`
}

func (c *showCmd) Run(a *app) error {
	ref, err := parseRef(c.Ref)
	if err != nil {
		return err
	}
	return c.withStore(a.ctx, func(store state.Store) error {
		m, err := c.managerOf(a.ctx, store, ref)
		if err != nil {
			return err
		}
		s, err := m.Lookup(a.ctx, ref)
		if errors.Is(err, session.ErrNotFound) {
			return fmt.Errorf("there is no live record %s: ask \"coatcheck sessions explain\" what became of it", ref)
		}
		if err != nil {
			return err
		}
		return c.print(a, s)
	})
}

func (c *showCmd) print(a *app, s *session.Session) error {
	d := detail{row: rowOf(s), Version: s.Version, Epoch: s.Epoch, Capabilities: s.Metadata.Capabilities, DataBytes: map[string]int{}}
	for k, v := range s.Data {
		d.DataBytes[k] = len(v)
	}
	if c.Data {
		d.Data = s.Data
	}
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
	for _, k := range slices.Sorted(maps.Keys(s.Data)) {
		value := fmt.Sprintf("%d bytes", len(s.Data[k]))
		if c.Data {
			value = string(s.Data[k])
		}
		if err := p.cells("data "+printable(k), value); err != nil {
			return err
		}
	}
	return p.flush()
}
