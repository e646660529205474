package audit

import (
	"context"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// Results of an event.
const (
	OK      = "ok"
	Refused = "refused"
)

// An Event is one line of the log.
type Event struct {
	Time time.Time `json:"time"`
	// Event says what happened: "session.created", "auth.refused".
	Event string `json:"event"`
	Kind  string `json:"kind,omitempty"` // of the record
	Ref   string `json:"ref,omitempty"`
	User  string `json:"user,omitempty"` // whose it is
	By    string `json:"by,omitempty"`   // who did it, if somebody else
	From  string `json:"from,omitempty"` // the client's address
	Why   string `json:"why,omitempty"`
	// Result is OK or Refused.
	Result string `json:"result"`
	// Dropped is, of "audit.dropped", how many events before this one are
	// missing.
	Dropped uint64 `json:"dropped,omitempty"`
}

// Observe records what happened to a session, but for updates and
// reactivations, which are no matter of security. It is what
// session.Options.Observe takes.
func (l *Log) Observe(_ context.Context, e session.Event) {
	if e.Type == session.EventUpdated || e.Type == session.EventReactivated {
		return
	}
	l.Record(fromSession(e))
}

func fromSession(e session.Event) Event {
	out := Event{
		Time: e.At.UTC(), Event: "session." + e.Type.String(), Kind: e.Kind,
		User: e.User, By: e.By, Why: e.What, Result: OK,
	}
	if !e.Ref.IsZero() {
		out.Ref = e.Ref.String()
	}
	if e.Address.IsValid() {
		out.From = e.Address.String()
	}
	switch e.Type {
	case session.EventEnded:
		out.Why = string(e.Reason)
	case session.EventBindingMismatch, session.EventLimitRefused:
		out.Result = Refused
	}
	return out
}
