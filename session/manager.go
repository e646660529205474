package session

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Options of a [Manager]. The zero value is that of a server with the default
// policy.
type Options struct {
	Namespace string // separates deployments in one store; empty: "default"
	Kind      string // what the records are; empty: "session"
	Policy    Policy
	// Clock tells the time of events about which the store was not asked;
	// nil: time.Now. All other times are the store's.
	Clock func() time.Time
	// Rand is where secrets come from; nil: crypto/rand.Reader. Anything else
	// is for tests.
	Rand io.Reader
	// RoutingKey keys the hash of the user that is the first byte of a ref.
	// All Managers of a namespace must have the same. Nil: derived from the
	// namespace; the byte then spreads users but hides nothing.
	RoutingKey []byte
	Logger     *slog.Logger // nil: nothing is logged
	// Observe is called with each event, in the goroutine whose call caused
	// it, so it must be quick; it must not call the Manager. Nil: none.
	Observe func(context.Context, Event)
}

func (o Options) defaults() Options {
	fill(&o.Namespace, "default")
	fill(&o.Kind, "session")
	o.Policy = o.Policy.Defaults()
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Manager creates, finds and ends the sessions of one namespace and kind.
// What is of another kind does not exist for it.
//
// It holds no sessions and starts no goroutine of its own accord; [Manager.Run]
// sweeps. It is safe for concurrent use, and any number of Managers, in any
// number of processes, may share a store. Closing the store is left to whoever
// opened it.
type Manager struct {
	store     state.Store
	namespace string
	kind      string
	policy    Policy
	clock     func() time.Time
	log       *slog.Logger
	observe   func(context.Context, Event)
	gen       *generator
	rate      *rateLimit
	touches   touches
}

// NewManager returns a Manager on the store, or what is wrong with the options:
// [ErrPolicy], or [ErrInvalid] for the namespace or kind.
func NewManager(store state.Store, opts Options) (*Manager, error) {
	if err := opts.Policy.Check(); err != nil {
		return nil, err
	}
	opts = opts.defaults()
	if err := state.CheckName("namespace", opts.Namespace); err != nil {
		return nil, fmt.Errorf("new session manager: %w", err)
	}
	if err := state.CheckName("kind", opts.Kind); err != nil {
		return nil, fmt.Errorf("new session manager: %w", err)
	}
	return &Manager{
		store: store, namespace: opts.Namespace, kind: opts.Kind, policy: opts.Policy,
		clock: opts.Clock, log: opts.Logger, observe: opts.Observe,
		gen: newGenerator(opts), rate: newRateLimit(opts.Policy.NewPerAddress, opts.Clock()),
	}, nil
}

// Store returns the store that the sessions are in.
func (m *Manager) Store() state.Store { return m.store }

// Namespace returns the namespace of the sessions.
func (m *Manager) Namespace() string { return m.namespace }

// Kind returns the kind of the sessions.
func (m *Manager) Kind() string { return m.kind }

// Policy returns the policy, defaults filled in.
func (m *Manager) Policy() Policy { return m.policy }

func (m *Manager) key(ref state.Ref) state.Key {
	return state.Key{Namespace: m.namespace, Ref: ref}
}
