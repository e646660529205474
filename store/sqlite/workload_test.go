package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// The workload of the durability tests: each record is created, updated a few
// times and then, every other one, deleted. What its data must be follows from
// its ref and version.
const (
	lastVersion = 5
	workers     = 8
)

func workValue(ref state.Ref, version uint64) string {
	return strings.Repeat(fmt.Sprintf("%s-%d ", ref, version), int(1+version*version*7%60))
}

// work writes until ctx ends or the store fails, and reports what was
// acknowledged: a version, or zero for the deletion.
func work(ctx context.Context, s state.Store, acknowledged func(state.Ref, uint64)) {
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				if !workOne(ctx, s, n%2 == 0, acknowledged) {
					return
				}
			}
		})
	}
	wg.Wait()
}

func workOne(ctx context.Context, s state.Store, remove bool, acknowledged func(state.Ref, uint64)) bool {
	ref, err := state.NewRef(1, rand.Reader)
	if err != nil {
		return false
	}
	key := state.Key{Namespace: testNamespace, Ref: ref}
	ops := []state.Op{createOp(key, workValue(ref, 1))}
	for v := uint64(1); v < lastVersion; v++ {
		ops = append(ops, state.UpdateOp{Key: key, Version: v, Data: valueData(workValue(ref, v+1))})
	}
	if remove {
		ops = append(ops, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
	}
	for i, op := range ops {
		if _, err := state.Do(ctx, s, op); err != nil {
			return false
		}
		if i == lastVersion {
			i = -1
		}
		acknowledged(ref, uint64(i+1))
	}
	return true
}

// A ledger notes what was acknowledged.
type ledger struct {
	mu       sync.Mutex
	closed   bool // what comes later does not count
	versions map[state.Ref]uint64
	deleted  map[state.Ref]bool
	count    int
}

func newLedger() *ledger {
	return &ledger{versions: map[state.Ref]uint64{}, deleted: map[state.Ref]bool{}}
}

func (l *ledger) note(ref state.Ref, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.count++
	if version == 0 {
		l.deleted[ref] = true
		return
	}
	l.versions[ref] = version
}

func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// compare returns everything in which the store falls short of the ledger.
func (l *ledger) compare(ctx context.Context, s *Store) error {
	var errs []error
	for ref, version := range l.versions {
		if err := l.compareOne(ctx, s, ref, version); err != nil {
			errs = append(errs, fmt.Errorf("%s, acknowledged at version %d: %w", ref, version, err))
		}
	}
	return errors.Join(append(errs, integrity(ctx, s))...)
}

func (l *ledger) compareOne(ctx context.Context, s *Store, ref state.Ref, version uint64) error {
	r, err := s.Get(ctx, state.Key{Namespace: testNamespace, Ref: ref})
	if gone, ok := errors.AsType[*state.NotFoundError](err); ok {
		// The deletion may have been on its way.
		if version == lastVersion && gone.End != nil && gone.End.Reason == state.ReasonLogout {
			return nil
		}
		return errors.New("lost")
	}
	if err != nil {
		return err
	}
	if l.deleted[ref] {
		return errors.New("came back after its deletion")
	}
	if r.Version != version && r.Version != version+1 {
		return fmt.Errorf("is at version %d", r.Version)
	}
	if want := valueData(workValue(ref, r.Version)); string(r.Data["value"]) != string(want["value"]) {
		return fmt.Errorf("half-written at version %d", r.Version)
	}
	return nil
}

// integrity asks SQLite, and whether what is kept twice agrees.
func integrity(ctx context.Context, s *Store) error {
	return s.readers.read(ctx, func(c *conn) error {
		var verdict string
		_, err := c.query("PRAGMA integrity_check").one(func(r row) error { verdict = r.text(0); return nil })
		if err == nil && verdict != "ok" {
			err = errors.New(verdict)
		}
		wrong, totalErr := c.int64(`SELECT
			(SELECT coalesce(sum(stored), 0) FROM totals) <> (SELECT count(*) FROM records)
			OR (SELECT count(*) FROM records JOIN ended USING (namespace, ref)) > 0
			OR (SELECT max(pos) - min(pos) + 1 <> count(*) FROM changes)`)
		if totalErr == nil && wrong != 0 {
			totalErr = errors.New("totals, tombstones or changes do not fit the records")
		}
		return errors.Join(err, totalErr)
	})
}

func TestWorkloadIsConsistent(t *testing.T) {
	s := openTest(t, "", Options{})
	l := newLedger()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	work(ctx, s, func(ref state.Ref, version uint64) {
		l.note(ref, version)
		if l.size() > 200 {
			cancel()
		}
	})
	if err := l.compare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}
