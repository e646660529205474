package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

type doctorCmd struct {
	storeFlags   `embed:""`
	cacheFlags   `embed:""`
	postureFlags `embed:""`
	JSON         bool `name:"json" help:"Print one JSON object a line."`
}

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning or failed
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

const (
	resultOK      = "ok"
	resultWarning = "warning"
	resultFailed  = "failed"
)

func ok(detail string, args ...any) finding {
	return finding{Result: resultOK, Detail: fmt.Sprintf(detail, args...)}
}

func warning(hint, detail string, args ...any) finding {
	return finding{Result: resultWarning, Detail: fmt.Sprintf(detail, args...), Hint: hint}
}

func failed(hint string, err error) finding {
	return finding{Result: resultFailed, Detail: err.Error(), Hint: hint}
}

var errSick = errors.New("the store cannot be used as it is; see above")

func (c *doctorCmd) Run(a *app) error {
	where, err := c.outside(a.ctx)
	if err != nil {
		return err
	}
	caches, err := c.caches()
	if err != nil {
		return err
	}
	if err := c.checkPolicy(); err != nil {
		return err
	}
	p := newPrinter(a.stdout, c.JSON)
	sick := false
	report := func(check string, f finding) error {
		f.Check = check
		sick = sick || f.Result == resultFailed
		text := f.Detail
		if f.Hint != "" {
			text += "; " + f.Hint
		}
		return p.line(f, f.Result, f.Check, text)
	}
	err = c.examine(a.ctx, where, caches, report)
	for _, f := range c.posture(where.ring != nil) {
		err = errors.Join(err, report("policy", f))
	}
	if err := errors.Join(err, p.flush()); err != nil {
		return err
	}
	if sick {
		return errSick
	}
	return nil
}

// examine reports each check as it is done, and stops where going on makes no
// sense. The error is that of reporting.
func (c *doctorCmd) examine(ctx context.Context, where place, caches open.Caches, report func(string, finding) error) (err error) {
	advice := adviceFor(where.url.Scheme())
	if where.url.Scheme() == open.SQLite {
		file := examineFile(where.url.Path())
		if err := report("file", file); err != nil || file.Result == resultFailed {
			return err
		}
	}
	store, openErr := where.open(ctx, open.Options{
		MustExist: true, SQLiteCache: -1,
		Caches: caches, Tiered: tiered.Options{Staleness: time.Duration(c.CacheStaleness)},
	})
	if openErr != nil {
		return report("open", failed(advice.open, openErr))
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := report("open", ok("opened; what it acknowledges is %s", store.Guarantees().Durability)); err != nil {
		return err
	}
	d := &doctor{store: store, namespace: c.Namespace, advice: advice}
	for _, check := range []struct {
		name string
		run  func(context.Context) finding
	}{{"reads", d.reads}, {"read", d.read}, {"write", d.write}, {"clock", d.clock}, {"records", d.count}, {"sweep", d.overdue}} {
		if err := report(check.name, check.run(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// examineFile looks at what the file system says, before the store is opened.
func examineFile(path string) finding {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failed("give the --store of the server; it makes one when it first starts", fmt.Errorf("there is no %s", path))
	case err != nil:
		return failed("run this as the user that the server runs as", err)
	case !info.Mode().IsRegular():
		return failed("give the path of the file", fmt.Errorf("%s is not a file", path))
	case info.Mode().Perm()&0o077 != 0:
		return warning("chmod 600 it: it holds what clients left", "%s can be used by others (%s)", path, info.Mode().Perm())
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err == nil && dir.Mode().Perm()&0o022 != 0 && dir.Mode()&fs.ModeSticky == 0 {
		return warning("chmod 700 it: whoever writes there can replace the store", "the folder of %s can be written by others (%s)", path, dir.Mode().Perm())
	}
	return ok("%s, %d KiB, only for its owner", path, info.Size()>>10)
}

// advice is what to look at when something fails, by store.
type advice struct{ open, read, write string }

func adviceFor(s open.Scheme) advice {
	if s == open.SQLite {
		return advice{
			open:  "is it a Coatcheck store, of this version, with these keys?",
			read:  "the file may be damaged, or locked by another program",
			write: "is the disk full, or the file read-only for this user?",
		}
	}
	return advice{
		open:  "does the server run there, and are user, password and keys right?",
		read:  "see the log of the database",
		write: "may this user write, and is there room?",
	}
}

// doctor examines an open store.
type doctor struct {
	advice    advice
	store     state.Store
	namespace string
	stamp     state.Stamp // of the record that write made
	wrote     time.Time   // when, by this process's clock
}

// reads says what a read is sure to see.
func (d *doctor) reads(context.Context) finding {
	if bound := d.store.Guarantees().Staleness; bound > 0 {
		return ok("may miss what other processes wrote in the last %v, a revocation too", bound)
	}
	return ok("see all that was acknowledged before")
}

func (d *doctor) read(ctx context.Context) finding {
	start := time.Now()
	if err := state.Ping(ctx, d.store, d.namespace); err != nil {
		return failed(d.advice.read, err)
	}
	return ok("answers in %v", time.Since(start).Round(time.Microsecond))
}

// doctorKind marks the record that write makes and ends. It is the system's
// own, so no list shows it.
const doctorKind = "_doctor"

func (d *doctor) write(ctx context.Context) finding {
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		return failed("", err)
	}
	record := state.Record{Namespace: d.namespace, Kind: doctorKind, Ref: ref}
	start := time.Now()
	made, err := state.Do(ctx, d.store, state.CreateOp{Record: record, Idle: time.Minute, Lifetime: time.Minute})
	if err != nil {
		return failed(d.advice.write, err)
	}
	took := time.Since(start)
	d.stamp, d.wrote = made.Stamp, start
	_, err = state.Do(ctx, d.store, state.DeleteOp{Key: record.Key(), Reason: state.ReasonFailed, By: operator()})
	if err != nil {
		return failed(d.advice.write, err)
	}
	return ok("takes %v until it is acknowledged", took.Round(time.Microsecond))
}

// clockTolerance is more than two processes of one machine may differ by.
const clockTolerance = 5 * time.Second

func (d *doctor) clock(context.Context) finding {
	if d.stamp.Created.IsZero() {
		return warning("", "not known, since nothing could be written")
	}
	off := d.stamp.Created.Sub(d.wrote).Abs()
	if off > clockTolerance {
		return warning("set the clocks", "the store's clock and this process's differ by %v", off)
	}
	return ok("agrees with this machine's")
}

func (d *doctor) count(ctx context.Context) finding {
	kinds := map[string]int{}
	total := 0
	for r, err := range d.store.List(ctx, state.Query{Namespace: d.namespace}) {
		if err != nil {
			return failed(d.advice.read, err)
		}
		kinds[r.Kind]++
		total++
	}
	if total == 0 {
		return ok("none in namespace %s", d.namespace)
	}
	return ok("%d in namespace %s, by kind: %s", total, d.namespace, counts(kinds))
}

// manyOverdue is more than a server that sweeps leaves behind.
const manyOverdue = 100_000

func (d *doctor) overdue(ctx context.Context) finding {
	n := 0
	for _, err := range d.store.List(ctx, state.Query{Namespace: d.namespace, Expired: true}) {
		if err != nil {
			return failed(d.advice.read, err)
		}
		n++
	}
	if n > manyOverdue {
		return warning("is a server running, with a --cleanup-interval that is not too long?", "%d records have expired and were not swept", n)
	}
	return ok("%d records have expired and wait for the next sweep", n)
}
