package gosdk

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// Defaults of [Options].
const (
	DefaultPassivateAfter = time.Minute
	DefaultEventBytes     = 1 << 20
	DefaultEventAge       = time.Hour
	DefaultMaxLive        = 100_000
)

// Options of a [Handler]. The zero value serves with everything on that needs
// no choice.
type Options struct {
	// Events keeps server-sent events for clients that resume a stream. Give
	// it the store of the Manager, if that is a state.EventStore, and streams
	// can be resumed after a restart. Nil: only while the session stays live
	// in this process.
	Events state.EventStore
	// EventBounds bounds what is kept of one session's events; zero fields
	// stand for 1 MiB and an hour.
	EventBounds state.EventBounds

	// JSONResponse answers a POST with application/json instead of an event
	// stream. What a tool sends besides its result goes to the standalone
	// stream then, as in the SDK.
	JSONResponse bool
	// MaxRequestBodyBytes bounds a request's body: 413 above it. Zero: 4 MiB;
	// negative: no bound.
	MaxRequestBodyBytes int64

	// AllowedHosts and AllowedOrigins say from where requests may come, and
	// the others turn the checks off: see streamable.Guard, whose strict
	// default is what none of them gives.
	AllowedHosts, AllowedOrigins         []string
	DisableHostCheck, DisableOriginCheck bool

	// Principal returns who makes the request, from verified credentials, or
	// "" for nobody; an error is answered with 401. Sessions are bound to it.
	// Nil: the UserID of the SDK's auth.TokenInfo.
	Principal func(*http.Request) (string, error)
	// Collector makes the metadata of new sessions.
	Collector session.Collector

	// PassivateAfter is how long a session stays live without a request, an
	// open stream, a running call or an unanswered request to the client.
	// Then it is in the store only, until its next request. Zero: a minute.
	PassivateAfter time.Duration
	// MaxLive bounds how many sessions are live at once; one more is answered
	// with 503. Zero: 100,000.
	MaxLive int

	// Cluster makes this one of several replicas that share the Manager's
	// store: see "Several replicas" in the package comment. Close the Handler
	// before the node. Nil: the only one.
	Cluster *cluster.Node

	// Logger is told what people may have to act on. No secrets, users or
	// data are logged. Nil: nothing is.
	Logger *slog.Logger
}

func (o *Options) resolve() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if r.PassivateAfter < 0 || r.MaxLive < 0 || r.EventBounds.Bytes < 0 || r.EventBounds.Age < 0 {
		return r, errors.New("gosdk options: PassivateAfter, MaxLive and EventBounds must not be negative")
	}
	orDefault(&r.PassivateAfter, DefaultPassivateAfter)
	orDefault(&r.MaxLive, DefaultMaxLive)
	orDefault(&r.EventBounds.Bytes, DefaultEventBytes)
	orDefault(&r.EventBounds.Age, DefaultEventAge)
	if r.Principal == nil {
		r.Principal = tokenUser
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

func (o *Options) guard() *streamable.Guard {
	return &streamable.Guard{
		AllowedHosts: o.AllowedHosts, AllowedOrigins: o.AllowedOrigins,
		DisableHost: o.DisableHostCheck, DisableOrigin: o.DisableOriginCheck,
	}
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// tokenUser is the default principal: what the SDK's own bearer token
// middleware verified.
func tokenUser(r *http.Request) (string, error) {
	if info := auth.TokenInfoFromContext(r.Context()); info != nil {
		return info.UserID, nil
	}
	return "", nil
}
