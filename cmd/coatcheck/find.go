package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

type findCmd struct {
	storeFlags `embed:""`
	JSON       bool `name:"json" help:"Print one JSON object a line."`

	Kind           string   `default:"session" help:"What to find: session, basket, note, or any other kind of record; \"\" for all."`
	User           *string  `placeholder:"USER" help:"Only those of this user; \"\" for those of nobody."`
	Owner          string   `placeholder:"NODE" help:"Only those that are live in this process."`
	Address        prefix   `placeholder:"NET" help:"Only those from this client address or network."`
	CreatedAfter   moment   `placeholder:"TIME" help:"Only those created at or after this time, or so long ago (2h) at most."`
	CreatedBefore  moment   `placeholder:"TIME" help:"Only those created before this time, or longer ago."`
	AccessedAfter  moment   `placeholder:"TIME" help:"Only those last accessed at or after this time, or so long ago at most."`
	AccessedBefore moment   `placeholder:"TIME" help:"Only those last accessed before this time, or longer ago."`
	Expired        bool     `help:"Those that have expired and were not swept yet, instead of the live ones."`
	Path           []string `sep:"none" placeholder:"PATH" help:"Only those in whose data this JSON path of PostgreSQL finds something, such as '$.cart ? (@.total > $$min)'. May be repeated: all must."`
	Var            []string `sep:"none" placeholder:"NAME=JSON" help:"What $$NAME is in the paths."`
	Join           string   `placeholder:"SQL" help:"SQL behind FROM sessions AS t, such as 'JOIN accounts a ON a.login = t.user_id'."`
	Where          string   `placeholder:"SQL" help:"Only those for which this condition on t, and on what --join brings, is true."`
	OrderBy        []string `sep:"none" placeholder:"KEY" help:"Sort by ref, user, owner, address, created_at, last_accessed, expires_at, or by what a JSON path first finds in the data; descending with desc behind it. May be repeated."`
	Max            int      `default:"1000" placeholder:"N" help:"At most so many."`
	Offset         int      `placeholder:"N" help:"Leave out so many of the first."`
}

// finder is a store that can be queried: store/postgres.
type finder interface {
	Find(ctx context.Context, w postgres.Where) ([]state.Record, error)
}

func (c *findCmd) Run(a *app) error {
	where, err := c.where()
	if err != nil {
		return err
	}
	p, err := c.outside(a.ctx)
	switch {
	case err != nil:
		return err
	case p.url.Scheme() != open.PostgreSQL:
		return usagef("sessions find needs a database to ask, and %s is none: write --store postgres://…, or filter with sessions list", p.url)
	}
	return c.withStore(a.ctx, func(store state.Store) error {
		f, ok := store.(finder)
		if !ok { // what is sealed, no query can look into
			return sealed()
		}
		m, err := session.NewManager(store, session.Options{Namespace: c.Namespace})
		if err != nil {
			return err
		}
		found, err := f.Find(a.ctx, where)
		if errors.Is(err, state.ErrInvalid) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, c.JSON)
		if err := p.header("REF", "KIND", "USER", "STATE", "CREATED", "LAST ACCESSED", "EXPIRES", "ADDRESS", "OWNER"); err != nil {
			return err
		}
		for i := range found {
			r := admin.SessionOf(m.View(&found[i]))
			err := p.line(r, r.Ref.String(), r.Kind, r.User, r.State, clock(r.CreatedAt), clock(r.LastAccessed), clock(r.ExpiresAt), r.Address, r.Owner)
			if err != nil {
				return err
			}
		}
		return p.flush()
	})
}

// sealed says why an encrypted store is not asked.
func sealed() error {
	return errors.Join(&state.UnsupportedError{Field: "data"},
		errors.New("the records are encrypted: filter with sessions list"))
}

func (c *findCmd) where() (postgres.Where, error) {
	if c.Max <= 0 || c.Offset < 0 {
		return postgres.Where{}, usagef("--max, --offset: write how many to find, and how many of the first to leave out")
	}
	w := postgres.Where{
		Query: state.Query{
			Namespace: c.Namespace, Kind: c.Kind, User: c.User, Owner: c.Owner, Expired: c.Expired, Max: c.Max,
			CreatedFrom: time.Time(c.CreatedAfter), CreatedBefore: time.Time(c.CreatedBefore),
			AccessedFrom: time.Time(c.AccessedAfter), AccessedBefore: time.Time(c.AccessedBefore),
		},
		Join: c.Join, Cond: c.Where, Offset: c.Offset,
	}
	if net := netip.Prefix(c.Address); net.IsValid() {
		w.Address = state.InPrefix(net)
	}
	vars, err := c.variables()
	if err != nil {
		return w, err
	}
	for _, path := range c.Path {
		w.Match = append(w.Match, postgres.Match{Path: path, Vars: vars})
	}
	for _, key := range c.OrderBy {
		o, err := orderOf(key)
		if err != nil {
			return w, err
		}
		w.OrderBy = append(w.OrderBy, o)
	}
	return w, nil
}

func (c *findCmd) variables() (map[string]any, error) {
	if len(c.Var) > 0 && len(c.Path) == 0 {
		return nil, usagef("--var: there is no --path to use it in")
	}
	vars := make(map[string]any, len(c.Var))
	for _, v := range c.Var {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" || !json.Valid([]byte(value)) {
			return nil, usagef("--var: write NAME=JSON, such as min=100 or name='\"Ann\"'")
		}
		vars[strings.TrimPrefix(name, "$")] = json.RawMessage(value)
	}
	return vars, nil
}

// orderOf reads a key to sort by.
func orderOf(text string) (postgres.Order, error) {
	key := strings.TrimSpace(text)
	key, desc := strings.CutSuffix(key, " desc")
	if !desc {
		key = strings.TrimSuffix(key, " asc")
	}
	key = strings.TrimSpace(key)
	if strings.HasPrefix(key, "$") || strings.HasPrefix(key, "strict $") || strings.HasPrefix(key, "lax $") {
		return postgres.Order{Path: key, Desc: desc}, nil
	}
	columns := map[string]string{
		"ref": "t.id", "user": "t.user_id", "owner": "t.owner", "address": "t.ip_address",
		"created_at": "t.created_at", "last_accessed": "t.last_accessed",
		"expires_at": "least(t.idle_deadline, t.absolute_deadline)",
	}
	sql, ok := columns[key]
	if !ok {
		return postgres.Order{}, usagef("--order-by: write ref, user, owner, address, created_at, last_accessed, expires_at " +
			"or a JSON path such as '$.cart.total', with desc behind it for the greatest first")
	}
	return postgres.Order{SQL: sql, Desc: desc}, nil
}
