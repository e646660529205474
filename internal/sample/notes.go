package sample

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Bounds of notes.
const (
	maxTitleBytes = 200
	maxTextBytes  = 100 << 10
	maxNotes      = 1000
	noteLifetime  = 30 * 24 * time.Hour
	noteMaxAge    = 10 * 365 * 24 * time.Hour
)

const (
	noteKind     = "note"
	notePrefix   = "note:///"
	noteTemplate = notePrefix + "{title}"
	textKey      = "text"
	titleKey     = "title"
)

// notes is a blackboard: records without a user, found by their titles.
//
// A note has no id that anybody holds. Its ref is a hash of its title, so that
// every process finds it without an index, and two that save the same new
// title at once meet in one record.
type notes struct {
	store   state.Store
	manager *session.Manager
}

func newNotes(opts Options) (*notes, error) {
	m, err := session.NewManager(opts.Sessions.Store(), session.Options{
		Namespace: opts.Sessions.Namespace(),
		Kind:      noteKind,
		Policy: session.Policy{
			IdleTimeout:      noteLifetime,
			AbsoluteLifetime: noteLifetime,
			SweepInterval:    opts.Sessions.Policy().SweepInterval,
		},
		Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &notes{store: opts.Sessions.Store(), manager: m}, nil
}

type (
	saveNote struct {
		Title string `json:"title" jsonschema:"names the note; saving the same title again replaces the text"`
		Text  string `json:"text" jsonschema:"what the note says"`
	}
	savedNote struct {
		URI string `json:"uri" jsonschema:"the resource under which the note can be read and subscribed to"`
	}
)

func (s *Sample) addNoteTools(server *mcp.Server) {
	mcp.AddTool(server, &mcp.Tool{
		Name: "save_note",
		Description: fmt.Sprintf("Writes a note on the blackboard that everybody here can read, for %d days. "+
			"Whoever subscribed to the resource note:///{title} is told.", int(noteLifetime.Hours())/24),
	}, func(ctx context.Context, req *mcp.CallToolRequest, in saveNote) (*mcp.CallToolResult, savedNote, error) {
		if err := checkNote(in); err != nil {
			return nil, savedNote{}, err
		}
		if err := s.notes.save(ctx, in.Title, in.Text); err != nil {
			return nil, savedNote{}, err
		}
		uri := noteURI(in.Title)
		err := gosdk.ResourceUpdated(ctx, server, &mcp.ResourceUpdatedNotificationParams{URI: uri})
		return nil, savedNote{URI: uri}, err
	})
	server.AddResourceTemplate(&mcp.ResourceTemplate{
		Name: "note", URITemplate: noteTemplate, MIMEType: "text/plain",
		Description: "A note on the blackboard, as saved by save_note.",
	}, s.notes.read)
}

func checkNote(in saveNote) error {
	switch {
	case !validTitle(in.Title):
		return fmt.Errorf("a title has 1 to %d bytes and no control characters", maxTitleBytes)
	case len(in.Text) > maxTextBytes:
		return fmt.Errorf("a text has at most %d bytes", maxTextBytes)
	}
	return nil
}

func validTitle(title string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	return title != "" && len(title) <= maxTitleBytes && utf8.ValidString(title) && strings.IndexFunc(title, control) < 0
}

// noteURI is the resource of a title, expanded as RFC 6570 says for the
// template: all but unreserved characters are escaped.
func noteURI(title string) string {
	return notePrefix + strings.ReplaceAll(url.QueryEscape(title), "+", "%20")
}

// noteTitle is the reverse. It reads other escapings of the same title too.
func noteTitle(uri string) (string, bool) {
	escaped, ok := strings.CutPrefix(uri, notePrefix)
	title, err := url.PathUnescape(escaped)
	return title, ok && err == nil && validTitle(title)
}

func (n *notes) key(title string) state.Key {
	sum := sha256.Sum256([]byte("coatcheck sample note\x00" + title))
	// The reader has more bytes than a ref takes.
	ref, err := state.NewRef(sum[0], bytes.NewReader(sum[1:]))
	if err != nil {
		panic(err)
	}
	return state.Key{Namespace: n.manager.Namespace(), Ref: ref}
}

// save creates or replaces. Nothing in a store upserts, so it is either an
// update or a create, and again if somebody else was quicker.
func (n *notes) save(ctx context.Context, title, text string) error {
	key := n.key(title)
	for range 3 {
		err := n.replace(ctx, key, text)
		if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		err = n.create(ctx, key, title, text)
		if !errors.Is(err, state.ErrExists) {
			return err
		}
	}
	return fmt.Errorf("a note of this title was removed less than %v ago; use another title", state.TombstoneTTL)
}

func (n *notes) create(ctx context.Context, key state.Key, title, text string) error {
	data := map[string]json.RawMessage{}
	for k, v := range map[string]string{titleKey: title, textKey: text} {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode note: %w", err)
		}
		data[k] = raw
	}
	_, err := state.Do(ctx, n.store, state.CreateOp{
		Record:   state.Record{Namespace: key.Namespace, Kind: noteKind, Ref: key.Ref, Data: data},
		Idle:     noteLifetime,
		Lifetime: noteLifetime,
		Limit:    state.Limit{Total: maxNotes},
	})
	if errors.Is(err, state.ErrLimit) {
		return fmt.Errorf("the blackboard is full: it holds %d notes", maxNotes)
	}
	return err
}

func (n *notes) replace(ctx context.Context, key state.Key, text string) error {
	_, err := n.manager.UpdateRef(ctx, key.Ref, func(note *session.Session) error {
		return note.Set(textKey, text)
	})
	if err != nil {
		return err
	}
	_, err = state.Do(ctx, n.store, state.ExtendOp{Key: key, For: noteLifetime, Max: noteMaxAge})
	return err
}

// read implements the resource template.
func (n *notes) read(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	uri := req.Params.URI
	title, ok := noteTitle(uri)
	if !ok {
		return nil, mcp.ResourceNotFoundError(uri)
	}
	note, err := n.manager.Lookup(ctx, n.key(title).Ref)
	if errors.Is(err, session.ErrNotFound) {
		return nil, mcp.ResourceNotFoundError(uri)
	}
	if err != nil {
		return nil, err
	}
	var text string
	if _, err := note.Get(textKey, &text); err != nil {
		return nil, err
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, MIMEType: "text/plain", Text: text}}}, nil
}

// subscribe lets clients subscribe to notes, also to those that are not there
// yet. The SDK keeps who subscribed to which URI, so it must be the one that
// save_note announces.
func (n *notes) subscribe(_ context.Context, req *mcp.SubscribeRequest) error {
	title, ok := noteTitle(req.Params.URI)
	if !ok {
		return mcp.ResourceNotFoundError(req.Params.URI)
	}
	if want := noteURI(title); want != req.Params.URI {
		return fmt.Errorf("write this note as %s", want)
	}
	return nil
}

func (n *notes) unsubscribe(context.Context, *mcp.UnsubscribeRequest) error { return nil }
