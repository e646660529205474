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

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

type doctorCmd struct {
	storeFlags   `embed:""`
	adminFlags   `embed:""`
	cacheFlags   `embed:""`
	postureFlags `embed:""`
	JSON         bool `name:"json" help:"Print one JSON object a line."`
}

var errSick = errors.New("the store cannot be used as it is; see above")

func (c *doctorCmd) Run(a *app) error {
	if err := c.checkPolicy(); err != nil {
		return err
	}
	p := newPrinter(a.stdout, c.JSON)
	sick := false
	report := func(f admin.Finding) error {
		sick = sick || f.Result == admin.ResultFailed
		text := f.Detail
		if f.Hint != "" {
			text += "; " + f.Hint
		}
		return p.line(f, f.Result, f.Check, text)
	}
	err := c.examine(a.ctx, report)
	if err := errors.Join(err, p.flush()); err != nil {
		return err
	}
	if sick {
		return errSick
	}
	return nil
}

// examine reports each check as it is done.
func (c *doctorCmd) examine(ctx context.Context, report func(admin.Finding) error) error {
	if c.Admin != "" {
		return c.ask(ctx, report)
	}
	where, err := c.outside(ctx)
	if err != nil {
		return err
	}
	caches, err := c.caches()
	if err != nil {
		return err
	}
	if err := c.look(ctx, where, caches, report); err != nil {
		return err
	}
	for _, f := range c.posture(where.ring != nil) {
		if err := report(named("policy", f)); err != nil {
			return err
		}
	}
	return nil
}

// ask has a server examine its store.
func (c *doctorCmd) ask(ctx context.Context, report func(admin.Finding) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for f, err := range client.Doctor(ctx) {
		if err != nil {
			return err
		}
		if err := report(f); err != nil {
			return err
		}
	}
	return nil
}

// look examines a store from here, and stops where going on makes no sense. The
// error is that of reporting.
func (c *doctorCmd) look(ctx context.Context, where place, caches open.Caches, report func(admin.Finding) error) (err error) {
	if where.url.Scheme() == open.SQLite {
		file := named("file", examineFile(where.url.Path()))
		if err := report(file); err != nil || file.Result == admin.ResultFailed {
			return err
		}
	}
	var node *embedded.Server
	store, openErr := where.open(ctx, open.Options{
		OnNode:    func(s *embedded.Server) { node = s },
		MustExist: true, SQLiteCache: -1,
		Caches: caches, Tiered: tiered.Options{Staleness: time.Duration(c.CacheStaleness)},
	})
	if openErr != nil {
		return report(named("open", admin.Failed(adviceFor(where.url.Scheme()).open, openErr)))
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return newDoctor(store, where, node).examine(ctx, report)
}

// named is a finding with the name of its check.
func named(check string, f admin.Finding) admin.Finding {
	f.Check = check
	return f
}

// examineFile looks at what the file system says, before the store is opened.
func examineFile(path string) admin.Finding {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return admin.Failed("give the --store of the server; it makes one when it first starts", fmt.Errorf("there is no %s", path))
	case err != nil:
		return admin.Failed("run this as the user that the server runs as", err)
	case !info.Mode().IsRegular():
		return admin.Failed("give the path of the file", fmt.Errorf("%s is not a file", path))
	case info.Mode().Perm()&0o077 != 0:
		return admin.Warning("chmod 600 it: it holds what clients left", "%s can be used by others (%s)", path, info.Mode().Perm())
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err == nil && dir.Mode().Perm()&0o022 != 0 && dir.Mode()&fs.ModeSticky == 0 {
		return admin.Warning("chmod 700 it: whoever writes there can replace the store", "the folder of %s can be written by others (%s)", path, dir.Mode().Perm())
	}
	return admin.OK("%s, %d KiB, only for its owner", path, info.Size()>>10)
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
	if s == open.Cluster {
		return advice{
			open:  "are the other nodes there, with the same secret and peers?",
			read:  "is a majority of the nodes there?",
			write: "is a majority of the nodes there, and room on their disks?",
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

	node *embedded.Server // nil: the store has none
}

func newDoctor(store state.Store, where place, node *embedded.Server) *doctor {
	return &doctor{node: node, store: store, namespace: where.namespace, advice: adviceFor(where.url.Scheme())}
}

// examine reports each check as it is done. The error is that of reporting.
func (d *doctor) examine(ctx context.Context, report func(admin.Finding) error) error {
	for _, check := range []struct {
		name string
		run  func(context.Context) admin.Finding
	}{{"open", d.opened}, {"reads", d.reads}, {"read", d.read}, {"write", d.write}, {"clock", d.clock}, {"records", d.count}, {"sweep", d.overdue}} {
		if err := report(named(check.name, check.run(ctx))); err != nil {
			return err
		}
	}
	if err := d.nodes(ctx, report); err != nil {
		return err
	}
	return d.members(ctx, report)
}

// opened says what the store promises of what it acknowledged.
func (d *doctor) opened(context.Context) admin.Finding {
	g := d.store.Guarantees()
	if g.Replication != "" {
		return admin.OK("opened; what it acknowledges is %s, replication %s", g.Durability, g.Replication)
	}
	return admin.OK("opened; what it acknowledges is %s", g.Durability)
}

// reads says what a read is sure to see.
func (d *doctor) reads(context.Context) admin.Finding {
	if bound := d.store.Guarantees().Staleness; bound > 0 {
		return admin.OK("may miss what other processes wrote in the last %v, a revocation too", bound)
	}
	return admin.OK("see all that was acknowledged before")
}

func (d *doctor) read(ctx context.Context) admin.Finding {
	start := time.Now()
	if err := state.Ping(ctx, d.store, d.namespace); err != nil {
		return admin.Failed(d.advice.read, err)
	}
	return admin.OK("answers in %v", time.Since(start).Round(time.Microsecond))
}

// doctorKind marks the record that write makes and ends. It is the system's
// own, so no list shows it.
const doctorKind = "_doctor"

func (d *doctor) write(ctx context.Context) admin.Finding {
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		return admin.Failed("", err)
	}
	record := state.Record{Namespace: d.namespace, Kind: doctorKind, Ref: ref}
	start := time.Now()
	made, err := state.Do(ctx, d.store, state.CreateOp{Record: record, Idle: time.Minute, Lifetime: time.Minute})
	if err != nil {
		return admin.Failed(d.advice.write, err)
	}
	took := time.Since(start)
	d.stamp, d.wrote = made.Stamp, start
	_, err = state.Do(ctx, d.store, state.DeleteOp{Key: record.Key(), Reason: state.ReasonFailed, By: operator()})
	if err != nil {
		return admin.Failed(d.advice.write, err)
	}
	return admin.OK("takes %v until it is acknowledged", took.Round(time.Microsecond))
}

// clockTolerance is more than two processes of one machine may differ by.
const clockTolerance = 5 * time.Second

func (d *doctor) clock(context.Context) admin.Finding {
	if d.stamp.Created.IsZero() {
		return admin.Warning("", "not known, since nothing could be written")
	}
	off := d.stamp.Created.Sub(d.wrote).Abs()
	if off > clockTolerance {
		return admin.Warning("set the clocks", "the store's clock and this process's differ by %v", off)
	}
	return admin.OK("agrees with this machine's")
}

func (d *doctor) count(ctx context.Context) admin.Finding {
	kinds := map[string]int{}
	total := 0
	for r, err := range d.store.List(ctx, state.Query{Namespace: d.namespace}) {
		if err != nil {
			return admin.Failed(d.advice.read, err)
		}
		kinds[r.Kind]++
		total++
	}
	if total == 0 {
		return admin.OK("none in namespace %s", d.namespace)
	}
	return admin.OK("%d in namespace %s, by kind: %s", total, d.namespace, counts(kinds))
}

// manyOverdue is more than a server that sweeps leaves behind.
const manyOverdue = 100_000

func (d *doctor) overdue(ctx context.Context) admin.Finding {
	n := 0
	for _, err := range d.store.List(ctx, state.Query{Namespace: d.namespace, Expired: true}) {
		if err != nil {
			return admin.Failed(d.advice.read, err)
		}
		n++
	}
	if n > manyOverdue {
		return admin.Warning("is a server running, with a --cleanup-interval that is not too long?", "%d records have expired and were not swept", n)
	}
	return admin.OK("%d records have expired and wait for the next sweep", n)
}
