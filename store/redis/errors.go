package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// refusals are the first words of what a server answers when it did not even
// begin with what it was asked.
var refusals = map[string]error{
	"OOM":         state.ErrFull,
	"LOADING":     state.ErrUnavailable, // reads its file after a start
	"BUSY":        state.ErrUnavailable, // runs somebody's script
	"CLUSTERDOWN": state.ErrUnavailable,
	"TRYAGAIN":    state.ErrUnavailable, // the slot is on the move
	"MOVED":       state.ErrUnavailable, // more often than the client follows
	"ASK":         state.ErrUnavailable,
	"MASTERDOWN":  state.ErrUnavailable,
	"READONLY":    state.ErrUnavailable, // a replica, after a failover
	"NOREPLICAS":  state.ErrUnavailable,
	"MISCONF":     state.ErrUnavailable, // cannot write its file
	"NOAUTH":      state.ErrUnavailable,
	"WRONGPASS":   state.ErrUnavailable,
	"NOPERM":      state.ErrUnavailable,
	"NOSCRIPT":    state.ErrUnavailable, // forgot it again at once
	"CORRUPT":     state.ErrCorrupt,     // said by a script of ours
	"WRONGTYPE":   state.ErrCorrupt,     // somebody else's key
}

// writeError says what an error of the client means for a write that was
// handed to it.
func writeError(err error) error {
	if err == nil {
		return nil
	}
	if word, refused := refusal(err); refused != nil {
		return fmt.Errorf("write to redis: %w: %s", refused, word)
	}
	if neverSent(err) {
		return fmt.Errorf("write to redis: %w: %w", state.ErrUnavailable, err)
	}
	return fmt.Errorf("write to redis: %w: %w", state.ErrUnknownOutcome, err)
}

// readError is the same for a read, of which no outcome is unknown.
func readError(err error) error {
	if err == nil {
		return nil
	}
	if word, refused := refusal(err); refused != nil {
		return fmt.Errorf("read from redis: %w: %s", refused, word)
	}
	return fmt.Errorf("read from redis: %w: %w", state.ErrUnavailable, err)
}

// refusal returns what an answer of the server means if it says that nothing
// was done. Only its first word is repeated: the rest may be data.
func refusal(err error) (word string, meaning error) {
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return "", nil
	}
	word, _, _ = strings.Cut(re.Error(), " ")
	if m := refusals[word]; m != nil {
		return word, m
	}
	// A script of ours was aborted before it wrote, when keys of its slot
	// were on the move.
	if strings.Contains(re.Error(), "non local key") {
		return "slot on the move", state.ErrUnavailable
	}
	return "", nil
}

// failed says what it means that a script of several failed for one of them. It
// reads all it needs before it writes.
func failed(text string) error {
	word, _, _ := strings.Cut(text, " ")
	if m := refusals[word]; m != nil {
		return fmt.Errorf("write to redis: %w: %s", m, word)
	}
	return fmt.Errorf("write to redis: %w: %s", state.ErrUnknownOutcome, "its script failed")
}

// neverSent reports whether the error is one from before anything was sent.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, rueidis.ErrNoSlot) || errors.Is(err, errPool)
}

// errPool: no connection came free in time.
var errPool = errors.New("no connection free in the pool; raise its maximum or lend connections for less long")

// errReplies: a script answered for fewer or more than it was called for.
var errReplies = errors.New("the answer is not one for each")

// broken reports whether a connection failed, so that a read is worth another
// try on a new one.
func broken(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || neverSent(err) {
		return false
	}
	_, answered := rueidis.IsRedisErr(err)
	return !answered && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
