package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A copy is a session that is live in a replica: what an adapter keeps of it.
type liveCopy struct {
	epoch, version uint64
	count          int // what it knows without asking the store
	lost           <-chan struct{}
}

// A step is one thing that happens in a history.
type step struct {
	What    string
	Replica int
	Session int
	Span    time.Duration
}

var stepKinds = []string{
	"request", "request", "request", "request", "request", "request", "time", "time", "time", "time",
	"cut", "cut", "mend", "stall", "resume", "kill", "start", "start", "leave", "write of a former owner",
}

const (
	modelReplicas = 3
	modelSessions = 1
)

func someSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			What:    rapid.SampledFrom(stepKinds).Draw(t, "what"),
			Replica: rapid.IntRange(0, modelReplicas-1).Draw(t, "replica"),
			Session: rapid.IntRange(0, modelSessions-1).Draw(t, "session"),
			Span:    time.Duration(rapid.SampledFrom([]int{10, 900, 1700, 2600, 3400, 5000}).Draw(t, "span")) * time.Millisecond,
		}
	}), 20, 120).Draw(t, "steps")
}

// A history is a run of replicas that count requests in sessions.
type history struct {
	*world
	replicas [modelReplicas]*replica
	live     [modelReplicas]map[int]*liveCopy
	former   [modelReplicas]map[int]*liveCopy // what was live and was given up
	sessions [modelSessions]state.Key
	acked    [modelSessions]int // the highest count that was acknowledged
	possible [modelSessions]int // the highest that may have been stored
	errs     []string
}

func (h *history) fail(format string, args ...any) {
	h.errs = append(h.errs, fmt.Sprintf(format, args...))
}

// Whatever happens to replicas and their links, at most one of them that may
// serve has a session live, no former owner's write is accepted, nothing
// acknowledged is lost, and when all is well again every replica can serve every
// session.
func TestOwnershipSurvivesWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := someSteps(rt)
		var errs []string
		synctest.Test(t, func(t *testing.T) { errs = runHistory(t, steps) })
		if len(errs) > 0 {
			rt.Fatalf("%s\nafter %+v", errs[0], steps)
		}
	})
}

func runHistory(t *testing.T, steps []step) []string {
	h := &history{world: newWorld(t)}
	for i := range h.sessions {
		h.sessions[i] = h.session()
	}
	for i := range h.replicas {
		h.start(i)
	}
	for _, s := range steps {
		h.do(s)
		synctest.Wait()
		h.check(fmt.Sprintf("%+v", s))
	}
	h.heal()
	return h.errs
}

func (h *history) start(i int) {
	h.replicas[i] = h.join()
	h.live[i], h.former[i] = map[int]*liveCopy{}, map[int]*liveCopy{}
}

func (h *history) do(s step) {
	r := h.replicas[s.Replica]
	if r.dead != (s.What == "start") && s.What != "time" {
		return
	}
	switch s.What {
	case "request":
		_ = h.request(s.Replica, s.Session)
	case "write of a former owner":
		h.haunt(s.Replica, s.Session)
	case "time":
		time.Sleep(s.Span)
	case "cut", "mend":
		r.link.setCut(s.What == "cut")
	case "stall", "resume":
		r.link.setStalled(s.What == "stall")
	case "kill":
		r.kill()
		h.live[s.Replica] = map[int]*liveCopy{}
	case "leave":
		for n := range h.live[s.Replica] {
			h.putAway(s.Replica, n)
		}
		_ = r.Close() // it may be cut off
		r.kill()
	case "start":
		h.start(s.Replica)
	}
}

var errNotServed = errors.New("not served")

// request is a client's request at a replica.
func (h *history) request(at, n int) error {
	r := h.replicas[at]
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	for range 4 {
		rec, err := r.link.Get(ctx, h.sessions[n])
		if err != nil {
			return err
		}
		p, err := r.Locate(ctx, rec.Owner)
		if err != nil {
			return err
		}
		switch p.Where {
		case Elsewhere:
			if to := h.byName(p.Member.Name); to >= 0 && h.liveCopy(to, n) != nil {
				return h.write(ctx, to, n)
			}
			return errNotServed
		case Here:
			if h.liveCopy(at, n) != nil {
				return h.write(ctx, at, n)
			}
		}
		if err := h.activate(ctx, at, n, rec.Epoch); err == nil {
			return h.write(ctx, at, n)
		} else if !errors.Is(err, state.ErrFenced) {
			return err
		}
	}
	return errNotServed
}

func (h *history) byName(name string) int {
	for i, r := range h.replicas {
		if !r.dead && r.Name() == name {
			return i
		}
	}
	return -1
}

// liveCopy returns the session that is live in a replica, if it may serve it.
func (h *history) liveCopy(at, n int) *liveCopy {
	c := h.live[at][n]
	if c != nil && isClosed(c.lost) {
		h.putAway(at, n)
		return nil
	}
	if c == nil || !h.replicas[at].Confirmed() {
		return nil
	}
	return c
}

func (h *history) putAway(at, n int) {
	h.former[at][n] = h.live[at][n]
	delete(h.live[at], n)
}

func (h *history) activate(ctx context.Context, at, n int, epoch uint64) error {
	r := h.replicas[at]
	lost := r.Lost()
	if h.live[at][n] != nil {
		h.putAway(at, n)
	}
	epoch, err := r.Claim(ctx, h.sessions[n], epoch)
	if err != nil {
		return err
	}
	rec, err := r.link.Get(ctx, h.sessions[n])
	if err != nil {
		return err
	}
	count := countOf(&rec)
	if count < h.acked[n] || count > h.possible[n] {
		h.fail("session %d was taken over with %d, where %d was acknowledged and %d written", n, count, h.acked[n], h.possible[n])
	}
	h.live[at][n] = &liveCopy{epoch: epoch, version: rec.Version, count: count, lost: lost}
	return nil
}

func countOf(r *state.Record) (n int) {
	_ = json.Unmarshal(r.Data["n"], &n)
	return n
}

// write counts the request from what the live copy knows.
func (h *history) write(ctx context.Context, at, n int) error {
	c := h.live[at][n]
	h.possible[n] = max(h.possible[n], c.count+1)
	err := h.store1(ctx, at, n, c, c.count+1)
	switch {
	case err == nil:
		c.count++
		c.version++
		h.acked[n] = max(h.acked[n], c.count)
	case errors.Is(err, state.ErrFenced), errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrUnknownOutcome):
		h.putAway(at, n)
	}
	return err
}

func (h *history) store1(ctx context.Context, at, n int, c *liveCopy, count int) error {
	_, err := state.Do(ctx, h.replicas[at].link, state.UpdateOp{
		Key: h.sessions[n], Version: c.version, Epoch: c.epoch,
		Data: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(count))},
	})
	return err
}

// haunt lets a former owner write, as one does that was paused in the middle of
// a request. It may succeed only while nobody else has claimed the session.
func (h *history) haunt(at, n int) {
	c := h.former[at][n]
	if c == nil {
		c = h.live[at][n]
	}
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	before := h.record(h.sessions[n])
	err := h.store1(ctx, at, n, c, c.count)
	switch {
	case err == nil && before.Epoch != c.epoch:
		h.fail("a write of epoch %d was accepted in epoch %d", c.epoch, before.Epoch)
	case err == nil:
		c.version++
	}
}

// check holds at every moment.
func (h *history) check(after string) {
	for n := range h.sessions {
		holders := 0
		for i, r := range h.replicas {
			if c := h.live[i][n]; c != nil && !r.dead && !isClosed(c.lost) && r.Confirmed() {
				holders++
			}
		}
		if holders > 1 {
			h.fail("%d replicas serve session %d after %s", holders, n, after)
		}
	}
}

// heal mends everything, and then every request is served.
func (h *history) heal() {
	for i, r := range h.replicas {
		if r.dead {
			h.start(i)
			continue
		}
		r.link.setCut(false)
		r.link.setStalled(false)
	}
	time.Sleep(3 * h.timeout)
	for i := range h.replicas {
		for n := range h.sessions {
			var err error
			for range 3 { // an owner that has it not live answers that it moved
				if err = h.request(i, n); err == nil {
					break
				}
				rec := h.record(h.sessions[n])
				if at := h.byName(rec.Owner); at >= 0 && h.liveCopy(at, n) == nil {
					_ = h.request(at, n)
				}
			}
			if err != nil {
				h.fail("with all well again replica %d cannot serve session %d: %v", i, n, err)
			}
		}
	}
	h.check("all was mended")
}
