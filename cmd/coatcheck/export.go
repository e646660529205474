package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/migrate"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

type exportCmd struct {
	storeFlags `embed:""`

	File string `arg:"" help:"Make this file, which must not exist. It is for its owner only: what it holds is in clear."`
	Kind string `env:"-" placeholder:"KIND" help:"Only records of this kind; all without it."`
}

func (c *exportCmd) Run(a *app) error {
	if c.Kind != "" {
		if err := checkKind(c.Kind); err != nil {
			return err
		}
	}
	return c.withStore(a.ctx, func(store state.Store) error {
		n, err := c.export(a.ctx, store)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%d exported\n", n)
		return err
	})
}

// export writes the file, or leaves none.
func (c *exportCmd) export(ctx context.Context, store state.Store) (n int, err error) {
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return 0, usagef("%s is there already: write another name", c.File)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(c.File))
		}
	}()
	out := bufio.NewWriter(f)
	if n, err = migrate.Export(ctx, out, store, state.Query{Namespace: c.Namespace, Kind: c.Kind}); err != nil {
		return n, err
	}
	return n, errors.Join(out.Flush(), f.Sync())
}

type importCmd struct {
	storeFlags `embed:""`

	File string `arg:"" help:"What \"sessions export\" has written; - is standard input."`
}

func (c *importCmd) Run(a *app) error {
	in, err := c.input()
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := c.outside(a.ctx)
	if err != nil {
		return err
	}
	store, err := p.open(a.ctx, open.Options{SQLiteCache: -1})
	if err != nil {
		return err
	}
	defer store.Close()
	stats, err := migrate.Import(a.ctx, in, store, c.Namespace)
	if err != nil {
		return fmt.Errorf("%w; %v; what was imported is there, the same again does the rest", err, stats)
	}
	_, err = fmt.Fprintln(a.stdout, stats)
	return err
}

// input opens the file, which others must not have been able to write.
func (c *importCmd) input() (io.ReadCloser, error) {
	if c.File == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, usageError{err}
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		err = fmt.Errorf("%s is open to others, who may have read or changed it: chmod 600 it if you are sure", c.File)
	}
	if err != nil {
		f.Close()
		return nil, usageError{err}
	}
	return f, nil
}
