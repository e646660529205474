package tiered_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
	storeopen "github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// revokerPlace makes the test binary the process that revokes.
const revokerPlace = "COATCHECK_TIERED_TEST_REVOKER"

// A place is where the processes of a test meet: a store, and perhaps a cache
// in Redis before it, by their URLs.
type place struct{ store, cache string }

func (p place) String() string { return strings.TrimSpace(p.store + " " + p.cache) }

func parsePlace(text string) place {
	store, shared, _ := strings.Cut(text, " ")
	return place{store, shared}
}

// tiers are those before the store of a place.
func (p place) tiers(ctx context.Context, bound time.Duration) ([]tiered.Tier, error) {
	c, err := cache.New(cache.Options{})
	tiers := []tiered.Tier{{Cache: c}}
	if err != nil || p.cache == "" {
		return tiers, err
	}
	shared, err := redis.OpenCache(ctx, p.cache, redis.CacheOptions{TTL: bound, Patience: 10 * time.Second})
	return append(tiers, tiered.Tier{Cache: shared, Shared: true}), err
}

// revoke deletes what it is told to, through a tiered store of its own.
func revoke(ctx context.Context, p place) error {
	inner, err := storeopen.Open(ctx, p.store, storeopen.Options{})
	if err != nil {
		return err
	}
	tiers, err := p.tiers(ctx, tiered.DefaultStaleness)
	if err != nil {
		return err
	}
	s, err := tiered.New(inner, tiered.Options{Tiers: tiers})
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ref, err := state.ParseRef(lines.Text())
		if err != nil {
			return err
		}
		r, err := state.Do(ctx, s, state.DeleteOp{
			Key: state.Key{Namespace: namespace, Ref: ref}, Reason: state.ReasonRevoked, By: "operator",
		})
		if err != nil {
			return err
		}
		fmt.Println(len(r.Ended))
	}
	return errors.Join(lines.Err(), s.Close())
}

// startRevoker starts another process at the place; what it returns revokes
// there.
func startRevoker(t *testing.T, p place) func(state.Key) error {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), revokerPlace+"="+p.String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the other process: %v: %s", err, stderr.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	return func(key state.Key) error {
		if _, err := fmt.Fprintln(stdin, key.Ref); err != nil {
			return err
		}
		if !lines.Scan() || lines.Text() != "1" {
			return fmt.Errorf("the other process ended %q: %s", lines.Text(), stderr.String())
		}
		return nil
	}
}

// A cut says what is done to the watch of the store below a cache.
type cut int

const (
	whole     cut = iota
	deaf          // it beats, and swallows every change
	deafFirst     // so does the first that was begun, the store's own
	gap           // it tells of a gap instead of every change
	silent        // it says nothing at all
	refused       // it cannot be begun
)

// A cable is a store whose watch can be cut.
type cable struct {
	state.Store
	how   atomic.Int32
	begun atomic.Int32 // watches
}

func (c *cable) cut(how cut) { c.how.Store(int32(how)) }

func (c *cable) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if cut(c.how.Load()) == refused {
		return nil, fmt.Errorf("watch: %w", state.ErrUnavailable)
	}
	changes, err := c.Store.Watch(ctx, opts)
	if err != nil {
		return nil, err
	}
	first := c.begun.Add(1) == 1
	out := make(chan state.Change)
	go func() {
		defer close(out)
		for change := range changes {
			how := cut(c.how.Load())
			if how == deafFirst && first {
				how = deaf
			}
			switch {
			case how >= silent, how == deaf && change.Type != state.Beat:
				continue
			case how == gap && change.Type != state.Beat:
				change = state.Change{Type: state.Gap}
			}
			select {
			case out <- change:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// A target is a store that serves from its caches, and how to revoke elsewhere
// what it serves.
type target struct {
	store  *tiered.Store
	hits   *atomic.Int64
	revoke func(state.Key) error
	bound  time.Duration
}

// newTarget opens a tiered store at a place in which another one revokes, in
// another process if asked.
func newTarget(t *testing.T, p place, process bool, wire cut, bound time.Duration) target {
	t.Helper()
	inner, err := storeopen.Open(t.Context(), p.store, storeopen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tiers, err := p.tiers(t.Context(), bound)
	if err != nil {
		t.Fatal(err)
	}
	link := &cable{Store: inner}
	var hits atomic.Int64
	s := open(t, link, tiered.Options{
		Tiers: tiers, Staleness: bound, Beat: 20 * time.Millisecond,
		OnLookup: func(tier string, hit bool) {
			if tier == "l1" && hit {
				hits.Add(1)
			}
		},
	})
	k := create(t, s)
	eventually(t, "a hit in the first tier", func() bool { get(t, s, k); return hits.Load() > 0 })
	link.cut(wire)
	tg := target{store: s, hits: &hits, bound: bound}
	if process {
		tg.revoke = startRevoker(t, p)
		return tg
	}
	elsewhere, err := storeopen.Open(t.Context(), p.store, storeopen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, elsewhere, tiered.Options{})
	tg.revoke = func(key state.Key) error {
		res, err := state.Do(t.Context(), other, state.DeleteOp{Key: key, Reason: state.ReasonRevoked})
		if err == nil && len(res.Ended) != 1 {
			return fmt.Errorf("the delete ended %d records", len(res.Ended))
		}
		return err
	}
	return tg
}

// revokeWhileServed creates a record, lets it be served, revokes it elsewhere,
// and checks that no Get that begins later than the bound returns it. It
// returns how long it was still served.
func (tg target) revokeWhileServed(ctx context.Context, key state.Key, lock sync.Locker) (time.Duration, error) {
	if _, err := state.Do(ctx, tg.store, creation(key)); err != nil {
		return 0, err
	}
	for range 3 {
		if _, err := tg.store.Get(ctx, key); err != nil {
			return 0, err
		}
	}
	lock.Lock()
	err := tg.revoke(key)
	acked := time.Now()
	lock.Unlock()
	if err != nil {
		return 0, err
	}
	for {
		began := time.Now()
		_, err := tg.store.Get(ctx, key)
		switch {
		case errors.Is(err, state.ErrNotFound):
			return began.Sub(acked), nil
		case err != nil:
			return 0, err
		case began.Sub(acked) > tg.bound:
			return 0, fmt.Errorf("a Get that began %v after the revocation returned the record; the bound is %v", began.Sub(acked), tg.bound)
		}
	}
}

// load keeps the store busy until the function it returns is called.
func (tg target) load(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		key := create(t, tg.store)
		wg.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ {
				if _, err := tg.store.Get(ctx, key); err != nil && ctx.Err() == nil {
					t.Errorf("get under load: %v", err)
					return
				}
				if n%50 == 0 {
					tg.store.Apply(ctx, state.TouchOp{Key: key, Idle: time.Hour})
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// A thousand revocations through another store or process, under load: with the
// watch whole, cut in each way, each is seen within the bound.
func TestRevocationElsewhereIsSeenWithinTheBound(t *testing.T) {
	for _, c := range []struct {
		name    string
		process bool
		wire    cut
		bound   time.Duration
	}{
		{"Watched", false, whole, tiered.DefaultStaleness},
		{"WatchedAcrossProcesses", true, whole, tiered.DefaultStaleness},
		{"WatchSwallowsChanges", false, deaf, 300 * time.Millisecond},
		{"WatchSwallowsChangesAcrossProcesses", true, deaf, 300 * time.Millisecond},
		{"WatchIsSilent", false, silent, 300 * time.Millisecond},
		{"WatchIsSilentAcrossProcesses", true, silent, 300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := place{store: "sqlite:" + filepath.Join(t.TempDir(), "state.db")}
			thousandRevocations(t, newTarget(t, file, c.process, c.wire, c.bound), c.wire)
		})
	}
}

// The same between two processes with a cache in Redis that both share, and one
// in each.
func TestRevocationInAnotherProcessIsSeenThroughASharedCache(t *testing.T) {
	server := redisserver.Start(t)
	postgres := postgresserver.Start(t, postgresserver.Options{})
	for name, store := range map[string]func() string{
		"Redis":      func() string { return "redis://" + server.Addr() },
		"PostgreSQL": func() string { return postgres.Database(t) },
	} {
		for _, c := range []struct {
			name  string
			wire  cut
			bound time.Duration
		}{
			{"Watched", whole, tiered.DefaultStaleness},
			{"WatchSwallowsChanges", deaf, 500 * time.Millisecond},
			{"WatchIsSilent", silent, 500 * time.Millisecond},
		} {
			t.Run(name+c.name, func(t *testing.T) {
				p := place{store(), "redis://" + server.Addr() + "?prefix=" + name + c.name + ":"}
				thousandRevocations(t, newTarget(t, p, true, c.wire, c.bound), c.wire)
			})
		}
	}
}

// thousandRevocations revokes elsewhere under load.
func thousandRevocations(t *testing.T, tg target, wire cut) {
	t.Helper()
	stop := tg.load(t)
	defer stop()
	revocations := 1000
	if testing.Short() {
		revocations = 100
	}
	var lock sync.Mutex // guards longest, and the other's pipe
	var longest time.Duration
	var left atomic.Int64
	left.Store(int64(revocations))
	errs := make([]error, 50)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				var served time.Duration
				served, errs[i] = tg.revokeWhileServed(t.Context(), newKey(t), &lock)
				lock.Lock()
				longest = max(longest, served)
				lock.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d revocations, the last seen %v after it was acknowledged; the bound is %v", revocations, longest, tg.bound)
	if wire == whole && tg.hits.Load() < int64(revocations) {
		t.Errorf("%d hits in the first tier: it was not in use", tg.hits.Load())
	}
}
