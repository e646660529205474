package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An Explanation says what became of a session. One of Live and End is set.
type Explanation struct {
	Ref  state.Ref
	Live *Session
	End  *state.End
}

// Explain says whether a session lives, or when, why and by whom it ended. It
// is [ErrNotFound] if nothing is known of it: it never was, or it ended more
// than [state.TombstoneTTL] ago.
func (m *Manager) Explain(ctx context.Context, ref state.Ref) (Explanation, error) {
	r, err := m.readRef(ctx, ref)
	if err == nil {
		return Explanation{Ref: ref, Live: m.session(ID{}, &r)}, nil
	}
	if end := endOf(err); end != nil {
		return Explanation{Ref: ref, End: end}, nil
	}
	if errors.Is(err, ErrNotFound) {
		return Explanation{}, fmt.Errorf("%s is not known: never issued, or ended more than %v ago: %w", m.name(ref), state.TombstoneTTL, ErrNotFound)
	}
	return Explanation{}, fmt.Errorf("explain %s: %w", m.name(ref), err)
}

// String returns a sentence for people. It has no user and no data.
func (e Explanation) String() string {
	switch {
	case e.Live != nil:
		return fmt.Sprintf("%s is %s: created %s, last accessed %s, expires %s",
			e.Ref, e.Live.State, clockText(e.Live.Created), clockText(e.Live.LastAccessed), clockText(e.Live.Expires()))
	case e.End != nil:
		by := ""
		if e.End.By != "" {
			by = " by " + e.End.By
		}
		return fmt.Sprintf("%s ended %s%s: %s (created %s, last accessed %s)",
			e.Ref, clockText(e.End.At), by, reasonText(e.End.Reason), clockText(e.End.Created), clockText(e.End.LastAccessed))
	}
	return "nothing is known"
}

func clockText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// reasonText says in words what a reason means.
func reasonText(r state.Reason) string {
	switch r {
	case state.ReasonLogout:
		return "logged out"
	case state.ReasonIdle:
		return "not used for too long"
	case state.ReasonAbsolute:
		return "reached its absolute lifetime"
	case state.ReasonEvicted:
		return "made room for a newer session of the same user"
	case state.ReasonRevoked:
		return "revoked"
	case state.ReasonBinding:
		return "presented by somebody else"
	case state.ReasonMigrated:
		return "moved to another store"
	case state.ReasonReplaced:
		return "replaced by its successor at sign-in"
	case state.ReasonFailed:
		return "never put to use"
	}
	return string(r)
}
