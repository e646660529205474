package encrypted

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Why a message was not opened. Test with [errors.Is]. All but ErrUnknownKey
// are [state.ErrCorrupt] too; ErrUnknownKey is [state.ErrUnavailable], since
// the key may arrive any moment.
var (
	// ErrTampered: not as it was sealed, or not where.
	ErrTampered = errors.New("tampered with")
	// ErrUnknownKey: sealed with a key that is not in the ring.
	ErrUnknownKey = keyring.ErrUnknownKey
	// ErrRevokedKey: sealed with a key that has been revoked.
	ErrRevokedKey = keyring.ErrRevokedKey
	// ErrNotSealed: not sealed at all.
	ErrNotSealed = errors.New("not sealed")
	// ErrRolledBack: an older version than this process has seen before, or
	// one that it has seen end.
	ErrRolledBack = errors.New("rolled back")
)

// A Refusal is a message that was not opened: what OnRefusal hears of, and the
// error that the caller gets. It has nothing of what is sealed.
type Refusal struct {
	Key     state.Key
	Stream  string // of an event
	Index   int64  // of an event
	Version uint64 // of a record, as it stands there
	KeyID   string // the name of the key that it claims; empty if unknown
	Err     error  // one of the above
	Why     string // more, for people
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("open record %v: %v", r.Key, r.Err)
	if r.Why != "" {
		text += ": " + r.Why
	}
	if r.KeyID != "" {
		text += " (key " + r.KeyID + ")"
	}
	return text
}

// Unwrap returns Err and the sentinel of package state.
func (r *Refusal) Unwrap() []error {
	if errors.Is(r.Err, ErrUnknownKey) {
		return []error{r.Err, state.ErrUnavailable}
	}
	return []error{r.Err, state.ErrCorrupt}
}

// refuse reports a refusal and returns it as the error.
func (s *Store) refuse(ctx context.Context, r Refusal) error {
	if s.opts.OnRefusal != nil {
		s.opts.OnRefusal(ctx, r)
	}
	return &r
}
