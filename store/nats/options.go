package nats

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What zero Options stand for.
const (
	DefaultName       = "coatcheck"
	DefaultStreams    = 8
	DefaultMirrors    = 2
	DefaultTimeout    = 5 * time.Second
	DefaultClockError = 100 * time.Millisecond
	DefaultUnswept    = 30 * 24 * time.Hour
)

// Options of a Store. The zero value is useful.
type Options struct {
	// Name begins the names of streams and subjects: letters, digits, "_" and
	// "-". Empty: DefaultName.
	Name string
	// Streams is how many streams share the records, by the routing byte of
	// their refs. It cannot change once the streams are there. Zero:
	// DefaultStreams.
	Streams int
	// Replicas is how many servers keep each stream: 1, 3 or 5. Zero: as many
	// as the streams have; where there are none yet, 3 in a cluster that can
	// place them, else 1; with [state.ReplicateAll] as many as the cluster has,
	// up to 5.
	Replicas int
	// Level is when a write is acknowledged: [state.ReplicateNone] and
	// [state.ReplicateLeader] with one replica, [state.ReplicateQuorum] and
	// [state.ReplicateAll] with more; see the package comment. Empty: none,
	// leader or quorum, as the replicas and mirrors are.
	Level state.Replication
	// Mirrors is how many servers follow that of a stream with
	// [state.ReplicateLeader], which it asks for. Zero: DefaultMirrors, or as many
	// as there are.
	Mirrors int
	// Durability declares what one server does: [state.Synced] if it has
	// sync_interval always, which no client can see. Zero: [state.Buffered].
	// With three replicas or more it is [state.Replicated].
	Durability state.Durability
	// Timeout bounds an operation whose context has no earlier deadline, in
	// which reads are tried again, and a stream without a leader is waited for.
	// Zero: DefaultTimeout.
	Timeout time.Duration
	// ClockError is declared: how far the clocks of the servers and the
	// estimate of them may be off. Zero: DefaultClockError.
	ClockError time.Duration
	// Unswept is how long the server keeps what has expired and is not swept,
	// and tombstones that are due; it is the part of the messages' TTL beyond
	// the deadline. Zero: DefaultUnswept.
	Unswept time.Duration
	Logger  *slog.Logger // nil: nothing is logged

	clock func() time.Time // in tests of what takes days
}

func (o Options) defaults() Options {
	def(&o.Name, DefaultName)
	def(&o.Streams, DefaultStreams)
	def(&o.Timeout, DefaultTimeout)
	def(&o.ClockError, DefaultClockError)
	def(&o.Unswept, DefaultUnswept)
	def(&o.Durability, state.Buffered)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check refuses what makes no sense, after defaults.
func (o *Options) check() error {
	switch {
	case len(o.Name) > 64 || strings.Trim(o.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "":
		return invalid("name", "use at most 64 letters, digits, '_' and '-'")
	case o.Streams < 1 || o.Streams > 256:
		return invalid("streams", "must be from 1 to 256")
	case o.Replicas < 0 || o.Replicas > 5:
		return invalid("replicas", "must be from 1 to 5")
	case o.Mirrors < 0 || o.Mirrors > 4:
		return invalid("mirrors", "must be from 1 to 4")
	case o.Mirrors > 0 && o.Level != "" && o.Level != state.ReplicateLeader:
		return invalid("mirrors", "are for replication=leader: write that, or leave mirrors out")
	case o.Timeout < time.Millisecond:
		return invalid("timeout", "must be at least a millisecond")
	case o.ClockError < time.Millisecond:
		return invalid("clock error", "must be at least a millisecond")
	case o.Unswept < state.TombstoneTTL:
		return invalid("unswept", fmt.Sprintf("must be at least %v", state.TombstoneTTL))
	}
	if o.Mirrors > 0 {
		o.Level = state.ReplicateLeader
	}
	switch o.Level {
	case "":
	case state.ReplicateNone:
		if o.Replicas > 1 {
			return invalid("replication", "none is one replica: leave out replicas, or take quorum")
		}
		o.Replicas = 1
	case state.ReplicateLeader:
		if o.Replicas > 1 {
			return invalid("replication", "leader is one replica and its mirrors: leave out replicas, or take quorum or all")
		}
		o.Replicas = 1
	case state.ReplicateQuorum, state.ReplicateAll:
		if o.Replicas == 1 {
			return invalid("replication", fmt.Sprintf("%s needs at least two replicas", o.Level))
		}
	default:
		return invalid("replication", fmt.Sprintf("%q is none of none, leader, quorum and all", string(o.Level)))
	}
	return nil
}

func invalid(what, why string) error {
	return fmt.Errorf("nats store: %w", &state.InvalidError{What: what, Why: why})
}
