package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/migrate"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// storeCmd works on whole stores.
type storeCmd struct {
	Migrate migrateCmd `cmd:"" help:"Bring the records of one store into another, while servers use the first."`
	Promote promoteCmd `cmd:"" help:"Put mirrors in the place of what was on a NATS server that is lost for good."`
}

// sealFlags are the keys and the namespace of one end of a migration.
type sealFlags struct {
	EncryptionKey string `placeholder:"FILE" help:"Its records are encrypted with the key in this file."`
	KeyRing       string `placeholder:"FILE" help:"Its records are encrypted with this key ring."`
	Namespace     string `placeholder:"NAME" help:"Its namespace; that of --namespace without it."`
}

type migrateCmd struct {
	From      string    `required:"" placeholder:"URL" help:"The store to copy, as --store takes it."`
	To        string    `required:"" placeholder:"URL" help:"The store to copy to. It is made if it is not there."`
	Namespace string    `default:"default" help:"The namespace to copy."`
	FromSeal  sealFlags `embed:"" prefix:"from-"`
	ToSeal    sealFlags `embed:"" prefix:"to-"`
	Kind      string    `env:"-" placeholder:"KIND" help:"Only records of this kind: session, basket, note, …"`
	Follow    bool      `env:"-" help:"Make one pass after another, until interrupted; then a last one. Interrupt it when the servers have stopped."`
	Interval  span      `default:"2s" help:"With --follow: how long to wait between passes."`
	EndSource bool      `env:"-" help:"At the end, end in the source what the target has. Only when no server uses the source any more."`
}

func (c *migrateCmd) Run(a *app) error {
	if c.Kind != "" {
		if err := checkKind(c.Kind); err != nil {
			return err
		}
	}
	from, to, err := c.places(a.ctx)
	if err != nil {
		return err
	}
	m := &migration{cmd: c, note: a.stderr, opts: migrate.Options{Namespace: from.namespace, To: to.namespace, Kind: c.Kind}}
	if m.from, err = from.openExisting(a.ctx); err != nil {
		return err
	}
	defer m.from.Close()
	if m.to, err = to.open(a.ctx, open.Options{SQLiteCache: -1}); err != nil {
		return err
	}
	defer m.to.Close()
	return m.run(a)
}

// places are the two ends.
func (c *migrateCmd) places(ctx context.Context) (from, to place, err error) {
	for _, end := range []struct {
		flag, url string
		seal      sealFlags
		at        *place
	}{{"--from", c.From, c.FromSeal, &from}, {"--to", c.To, c.ToSeal, &to}} {
		flags := storeFlags{Store: end.url, EncryptionKey: end.seal.EncryptionKey, KeyRing: end.seal.KeyRing, Namespace: c.Namespace}
		if end.seal.Namespace != "" {
			flags.Namespace = end.seal.Namespace
		}
		if *end.at, err = flags.place(ctx); err != nil {
			return from, to, usagef("%s: %w", end.flag, err)
		}
		if end.at.url.Scheme() == open.Memory {
			return from, to, usagef("%s: memory: is within a server's process and cannot be reached from here: write sqlite:PATH or another", end.flag)
		}
	}
	if from.url.String() == to.url.String() && from.namespace == to.namespace {
		return from, to, usagef("--from and --to are the same namespace of the same store: write another --to, or --to-namespace")
	}
	return from, to, nil
}

// migration is one run of the command.
type migration struct {
	cmd      *migrateCmd
	opts     migrate.Options
	from, to state.Store
	note     io.Writer
	said     time.Time // when progress was reported last
	expired  int       // by the last pass
}

func (m *migration) run(a *app) error {
	stats, err := m.passes(a.ctx)
	if err != nil {
		if a.ctx.Err() != nil {
			return fmt.Errorf("interrupted: %v; what was copied is there, write the same again to go on", stats)
		}
		return err
	}
	fmt.Fprintf(a.stdout, "%v\n", stats)
	if m.expired > 0 {
		return fmt.Errorf("%d records expired in the target since an earlier pass and live in the source: their clients will begin anew; make passes more often than the idle timeout, --follow say", m.expired)
	}
	if !m.cmd.EndSource {
		return nil
	}
	n, err := migrate.End(context.WithoutCancel(a.ctx), m.from, m.to, operator(), m.opts)
	fmt.Fprintf(a.stdout, "%d ended in the source\n", n)
	return err
}

// passes makes one, or with --follow as many as it takes.
func (m *migration) passes(ctx context.Context) (total migrate.Stats, err error) {
	total, err = m.pass(ctx)
	if !m.cmd.Follow {
		return total, err
	}
	for ctx.Err() == nil {
		if err != nil && !errors.Is(err, state.ErrUnavailable) {
			return total, err
		}
		if err != nil {
			fmt.Fprintf(m.note, "%v; it is tried again\n", err)
		}
		if sleep(ctx, time.Duration(m.cmd.Interval)) != nil {
			break
		}
		var stats migrate.Stats
		stats, err = m.pass(ctx)
		total = sum(total, stats)
	}
	fmt.Fprintln(m.note, "interrupted: the last pass")
	stats, err := m.pass(context.WithoutCancel(ctx))
	return sum(total, stats), err
}

// sum counts what several passes did; how many records there are, and how many
// were left alone, the last one knows.
func sum(all, last migrate.Stats) migrate.Stats {
	last.Copied += all.Copied
	last.Updated += all.Updated
	last.Touched += all.Touched
	last.Ended += all.Ended
	return last
}

func (m *migration) pass(ctx context.Context) (migrate.Stats, error) {
	opts := m.opts
	opts.OnProgress = func(s migrate.Stats) {
		if now := time.Now(); now.Sub(m.said) >= progressEvery {
			m.said = now
			fmt.Fprintf(m.note, "%v\n", s)
		}
	}
	stats, err := migrate.Pass(ctx, m.from, m.to, opts)
	m.expired = stats.Expired
	return stats, err
}
