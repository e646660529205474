package session

import (
	"context"
	"net/netip"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// An EventType says what an Event reports.
type EventType int

const (
	// EventCreated: a session was created. Size is set.
	EventCreated EventType = iota + 1
	// EventUpdated: data or metadata changed. Size is set.
	EventUpdated
	// EventExtended: a session was given a new lifetime.
	EventExtended
	// EventReactivated: an idle session was accessed.
	EventReactivated
	// EventRegenerated: a session got a new secret.
	EventRegenerated
	// EventEnded: a session ended, of the Reason given. Age is set.
	EventEnded
	// EventBindingMismatch: an id was presented by somebody else, or from
	// elsewhere: What says what did not fit. User is whose session it is, By
	// who presented it.
	EventBindingMismatch
	// EventLimitRefused: a session was refused by a limit. There is no Ref.
	EventLimitRefused
	// EventSignedIn: a user was authenticated, and this is their session from
	// now on. What happened to make it so is reported by itself, before.
	EventSignedIn
)

// String returns the name of the type, as logs and audits have it.
func (t EventType) String() string {
	switch t {
	case EventCreated:
		return "created"
	case EventUpdated:
		return "updated"
	case EventExtended:
		return "extended"
	case EventReactivated:
		return "reactivated"
	case EventRegenerated:
		return "regenerated"
	case EventEnded:
		return "ended"
	case EventBindingMismatch:
		return "binding_mismatch"
	case EventLimitRefused:
		return "limit_refused"
	case EventSignedIn:
		return "signed_in"
	}
	return "unknown"
}

// What an [EventLimitRefused] can say of the limit.
const (
	LimitUser  = "user"  // MaxPerUser
	LimitTotal = "total" // MaxTotal
	LimitRate  = "rate"  // NewPerAddress
)

// An Event is something that happened to a session. It is emitted once, by the
// process whose operation caused it; [Manager.Watch] tells of what others do.
//
// There are two limits to that. If the answer to a write was lost, and the
// Manager found out that it had happened, what a Create evicted goes
// unreported. And two processes that access an idle session at the same moment
// may both report its reactivation.
type Event struct {
	Type   EventType
	At     time.Time // by the store's clock where the store was asked
	Ref    state.Ref
	Kind   string
	User   string
	Reason state.Reason // of EventEnded
	By     string       // who did it, for people
	// What says more: of EventBindingMismatch what did not fit, of
	// EventLimitRefused which limit it was.
	What string
	// Address is where the client was, if the event has one and it is known.
	Address netip.Addr
	Age     time.Duration // of EventEnded: from creation to the end
	Size    int           // of EventCreated and EventUpdated: bytes, as [state.Size] measures
}

func (m *Manager) emit(ctx context.Context, e Event) {
	if m.observe == nil {
		return
	}
	e.Kind = m.kind
	m.observe(ctx, e)
}

// ended reports an ending by the store's account of it.
func (m *Manager) ended(ctx context.Context, ends ...state.End) {
	for _, e := range ends {
		m.emit(ctx, Event{
			Type: EventEnded, At: e.At, Ref: e.Key.Ref, User: e.User,
			Reason: e.Reason, By: e.By, Age: e.At.Sub(e.Created),
		})
	}
}
