package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
)

// Bounds of baskets.
const (
	maxItemBytes      = 200
	maxItems          = 500
	basketIdle        = 24 * time.Hour
	basketLifetime    = 7 * 24 * time.Hour
	maxBasketsPerUser = 100
	maxBaskets        = 100_000
)

// basketKind is the kind of the records that create_basket makes.
const basketKind = "basket"

// itemsKey is where the items are in the data of a basket, and in that of a
// session for the session's own.
const itemsKey = "items"

func newBaskets(opts Options) (*session.Manager, error) {
	return session.NewManager(opts.Sessions.Store(), session.Options{
		Namespace: opts.Sessions.Namespace(),
		Kind:      basketKind,
		Policy: session.Policy{
			IdleTimeout:      basketIdle,
			AbsoluteLifetime: basketLifetime,
			MaxPerUser:       maxBasketsPerUser,
			MaxTotal:         maxBaskets,
			SweepInterval:    opts.Sessions.Policy().SweepInterval,
		},
		Observe: opts.Observe,
		Logger:  opts.Logger,
	})
}

type (
	newBasket struct {
		BasketID string `json:"basket_id" jsonschema:"pass it to add_item and view_basket; whoever is not you cannot use it"`
	}
	addItem struct {
		Item     string `json:"item" jsonschema:"what to put into the basket"`
		BasketID string `json:"basket_id,omitempty" jsonschema:"from create_basket; without it, the basket of this session"`
	}
	viewBasket struct {
		BasketID string `json:"basket_id,omitempty" jsonschema:"from create_basket; without it, the basket of this session"`
	}
	basket struct {
		Items []string `json:"items"`
	}
)

// basketSchema is written by hand, since a slice would be derived as an array
// or null.
var basketSchema = json.RawMessage(`{
	"type": "object",
	"properties": {
		"items": {
			"type": "array",
			"items": {"type": "string"},
			"description": "what is in the basket, in the order it was put there"
		}
	},
	"required": ["items"],
	"additionalProperties": false
}`)

func (s *Sample) addBasketTools(server *mcp.Server) {
	mcp.AddTool(server, &mcp.Tool{
		Name: "create_basket",
		Description: fmt.Sprintf("Makes a new, empty basket and returns its basket_id. It lives for %d days, "+
			"or until it was not used for %d hours, and only its creator can use it.",
			int(basketLifetime.Hours())/24, int(basketIdle.Hours())),
	}, s.createBasket)
	mcp.AddTool(server, &mcp.Tool{
		Name:         "add_item",
		Description:  "Puts an item into a basket and returns all that is in it.",
		OutputSchema: basketSchema,
	}, s.addItem)
	mcp.AddTool(server, &mcp.Tool{
		Name:         "view_basket",
		Description:  "Returns what is in a basket.",
		Annotations:  &mcp.ToolAnnotations{ReadOnlyHint: true},
		OutputSchema: basketSchema,
	}, s.viewBasket)
}

func (s *Sample) createBasket(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, newBasket, error) {
	b, err := s.baskets.Create(ctx, session.CreateRequest{User: user(req)})
	if errors.Is(err, session.ErrLimit) {
		return nil, newBasket{}, errors.New("there are too many baskets; use one that you have, or try again later")
	}
	if err != nil {
		return nil, newBasket{}, err
	}
	return nil, newBasket{BasketID: b.ID.Reveal()}, nil
}

func (s *Sample) addItem(ctx context.Context, req *mcp.CallToolRequest, in addItem) (*mcp.CallToolResult, basket, error) {
	item := strings.TrimSpace(in.Item)
	if item == "" || len(item) > maxItemBytes {
		return nil, basket{}, fmt.Errorf("an item has 1 to %d bytes", maxItemBytes)
	}
	var out basket
	put := func(b *session.Session) (err error) {
		if out, err = contents(b); err != nil {
			return err
		}
		if len(out.Items) >= maxItems {
			return fmt.Errorf("the basket is full: it holds %d items; call create_basket for another", maxItems)
		}
		out.Items = append(out.Items, item)
		return b.Set(itemsKey, out.Items)
	}
	err := s.updateBasket(ctx, in.BasketID, user(req), put)
	return nil, out, err
}

func (s *Sample) viewBasket(ctx context.Context, req *mcp.CallToolRequest, in viewBasket) (*mcp.CallToolResult, basket, error) {
	b, err := s.findBasket(ctx, in.BasketID, user(req))
	if err != nil {
		return nil, basket{}, err
	}
	out, err := contents(b)
	return nil, out, err
}

// contents returns the items of a basket, never nil.
func contents(b *session.Session) (basket, error) {
	out := basket{Items: []string{}}
	_, err := b.Get(itemsKey, &out.Items)
	return out, err
}

// errNeedsBasket tells a model what to do, as every error of these tools does.
var errNeedsBasket = errors.New("this client has no session and so no basket of its own: call create_basket, and pass the basket_id it returns")

// errNoBasket is for every id that opens nothing: never made, expired, or
// somebody else's. Which it is, is nobody's business.
var errNoBasket = errors.New("there is no such basket: it expired or was never yours; call create_basket for a new one")

// findBasket returns the basket of the id, or the session's own without one.
func (s *Sample) findBasket(ctx context.Context, id, user string) (*session.Session, error) {
	if id == "" {
		own, ok := gosdk.FromContext(ctx)
		if !ok {
			return nil, errNeedsBasket
		}
		return own.Load(ctx)
	}
	parsed, err := session.ParseID(id)
	if err != nil {
		return nil, errNoBasket
	}
	b, err := s.baskets.Access(ctx, parsed, user)
	if errors.Is(err, session.ErrNotFound) {
		return nil, errNoBasket
	}
	return b, err
}

// updateBasket changes that basket. The function may run more than once.
func (s *Sample) updateBasket(ctx context.Context, id, user string, fn func(*session.Session) error) error {
	if id == "" {
		own, ok := gosdk.FromContext(ctx)
		if !ok {
			return errNeedsBasket
		}
		return own.Update(ctx, fn)
	}
	// The user of a record never changes, so what Access allowed stays so.
	b, err := s.findBasket(ctx, id, user)
	if err != nil {
		return err
	}
	_, err = s.baskets.Update(ctx, b.ID, fn)
	if errors.Is(err, session.ErrNotFound) {
		return errNoBasket
	}
	return err
}
