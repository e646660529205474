package migrate

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// lineFormat is the newest form of a line. Forms are never changed once
// released; each release writes the newest and reads the one before too.
const lineFormat = 1

// A line is a record in an export: one JSON object a line, in clear. Of secrets
// it has the SHA-256, as the store does: with it sessions go on after an import,
// and without the secret itself, which is random, it opens none.
type line struct {
	Format int       `json:"format"`
	Ref    state.Ref `json:"ref"`
	Kind   string    `json:"kind"`
	User   text      `json:"user"`

	Version          uint64    `json:"version"`
	Created          time.Time `json:"created_at"`
	LastAccessed     time.Time `json:"last_accessed"`
	IdleDeadline     time.Time `json:"idle_deadline"`
	AbsoluteDeadline time.Time `json:"absolute_deadline"`

	Secret         string    `json:"secret_sha256,omitempty"`
	PreviousSecret string    `json:"previous_secret_sha256,omitempty"`
	PreviousUntil  time.Time `json:"previous_secret_until,omitzero"`
	LastOp         string    `json:"last_operation,omitempty"`

	Address         netip.Addr      `json:"address,omitzero"`
	UserAgent       string          `json:"user_agent,omitempty"`
	ProtocolVersion string          `json:"protocol_version,omitempty"`
	Capabilities    json.RawMessage `json:"client_capabilities,omitempty"`

	Data map[string]json.RawMessage `json:"data"`
}

// A text is a string, or an object with "base64" for bytes that are no UTF-8.
type text string

type encodedText struct {
	Base64 []byte `json:"base64"`
}

func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(encodedText{[]byte(t)})
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var e encodedText
		err := json.Unmarshal(b, &e)
		*t = text(e.Base64)
		return err
	}
	var s string
	err := json.Unmarshal(b, &s)
	*t = text(s)
	return err
}

func lineOf(r *state.Record) line {
	l := line{
		Format: lineFormat, Ref: r.Ref, Kind: r.Kind, User: text(r.User),
		Version: r.Version, Created: r.Created, LastAccessed: r.LastAccessed,
		IdleDeadline: r.IdleDeadline, AbsoluteDeadline: r.AbsoluteDeadline,
		PreviousUntil: r.Secret.PreviousUntil, Address: r.Meta.Address,
		UserAgent: r.Meta.UserAgent, ProtocolVersion: r.Meta.ProtocolVersion,
		Capabilities: r.Meta.Capabilities, Data: r.Data,
	}
	if !r.Secret.Hash.IsZero() {
		l.Secret = hex.EncodeToString(r.Secret.Hash[:])
	}
	if !r.Secret.Previous.IsZero() {
		l.PreviousSecret = hex.EncodeToString(r.Secret.Previous[:])
	}
	if !r.LastOp.IsZero() {
		l.LastOp = hex.EncodeToString(r.LastOp[:])
	}
	return l
}

func (l *line) record(namespace string) (r state.Record, err error) {
	r = state.Record{
		Namespace: namespace, Kind: l.Kind, Ref: l.Ref, User: string(l.User),
		Stamp: state.Stamp{
			Version: l.Version, Created: l.Created, LastAccessed: l.LastAccessed,
			IdleDeadline: l.IdleDeadline, AbsoluteDeadline: l.AbsoluteDeadline,
		},
		Secret: state.Secret{PreviousUntil: l.PreviousUntil},
		Meta: state.Metadata{
			Address: l.Address, UserAgent: l.UserAgent,
			ProtocolVersion: l.ProtocolVersion, Capabilities: l.Capabilities,
		},
		Data: l.Data,
	}
	for _, f := range []struct {
		what, text string
		into       []byte
	}{
		{"secret_sha256", l.Secret, r.Secret.Hash[:]},
		{"previous_secret_sha256", l.PreviousSecret, r.Secret.Previous[:]},
		{"last_operation", l.LastOp, r.LastOp[:]},
	} {
		if f.text == "" {
			continue
		}
		b, err := hex.DecodeString(f.text)
		if err != nil || len(b) != len(f.into) {
			return r, &state.InvalidError{What: f.what, Why: fmt.Sprintf("not %d bytes in hexadecimal", len(f.into))}
		}
		copy(f.into, b)
	}
	return r, nil
}

// Export writes the records of the query, one JSON object a line, in the order
// of their refs, and returns how many. It holds one of them in memory.
func Export(ctx context.Context, w io.Writer, from state.Store, q state.Query) (int, error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n := 0
	for r, err := range from.List(ctx, q) {
		if err != nil {
			return n, fmt.Errorf("export records of namespace %s: %w", q.Namespace, err)
		}
		if err := enc.Encode(lineOf(&r)); err != nil {
			return n, fmt.Errorf("export %v: %w", r.Ref, err)
		}
		n++
	}
	return n, nil
}

// Imported counts what an Import did.
type Imported struct {
	Imported int
	There    int // that the store has, or has ended: left alone
	Expired  int // that have expired since they were exported
}

func (i Imported) String() string {
	return fmt.Sprintf("%d imported, %d were there, %d have expired", i.Imported, i.There, i.Expired)
}

// maxLine is more than the longest line: data and user may grow sixfold.
const maxLine = 8 << 20

// importPage is how many records are written in one step.
const importPage = 64

// Import reads what [Export] has written into a namespace of a store. What is
// there or has ended there is left alone, so that it can be made again.
func Import(ctx context.Context, r io.Reader, to state.Store, namespace string) (Imported, error) {
	var stats Imported
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var page []state.Op
	for n := 1; ; n++ {
		more := lines.Scan()
		if more && len(lines.Bytes()) > 0 {
			op, err := parseLine(lines.Bytes(), namespace)
			if err != nil {
				// The error of the JSON decoder may quote the line.
				return stats, fmt.Errorf("line %d: %w", n, err)
			}
			page = append(page, op)
		}
		if len(page) == importPage || !more {
			if err := stats.apply(ctx, to, page); err != nil {
				return stats, err
			}
			page = page[:0]
		}
		if !more {
			break
		}
	}
	if err := lines.Err(); err != nil {
		return stats, fmt.Errorf("read the export: %w", err)
	}
	return stats, nil
}

func parseLine(b []byte, namespace string) (state.Op, error) {
	var l line
	if json.Unmarshal(b, &l) != nil {
		return nil, &state.InvalidError{What: "line", Why: "it is not as an export writes it"}
	}
	if l.Format != lineFormat {
		return nil, &state.InvalidError{What: "line", Why: fmt.Sprintf("its format is %d, and %d is known: it was written by another release", l.Format, lineFormat)}
	}
	r, err := l.record(namespace)
	if err != nil {
		return nil, err
	}
	op := state.ImportOp{Record: r}
	return op, state.Check(op)
}

func (i *Imported) apply(ctx context.Context, to state.Store, ops []state.Op) error {
	for k, res := range apply(ctx, to, ops) {
		switch {
		case res.Err == nil:
			i.Imported++
		case errors.Is(res.Err, state.ErrExists):
			i.There++
		case errors.Is(res.Err, state.ErrNotFound):
			i.Expired++
		default:
			return fmt.Errorf("import %v: %w", ops[k].Target().Ref, res.Err)
		}
	}
	return nil
}
