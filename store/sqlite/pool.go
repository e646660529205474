package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// A pool holds the connections that read.
type pool struct {
	free chan *conn // has room for all of them
	size int
}

func defaultReaders() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

func (s *Store) openReaders(ctx context.Context) (*pool, error) {
	p := &pool{free: make(chan *conn, s.opts.Readers)}
	for range s.opts.Readers {
		c, err := s.connect(ctx, readerPragmas)
		if err != nil {
			return p, fmt.Errorf("open a connection for reading: %w", err)
		}
		p.free <- c
		p.size++
	}
	return p, nil
}

// close waits for the connections in use.
func (p *pool) close() error {
	var errs []error
	for range p.size {
		c := <-p.free
		errs = append(errs, c.close())
	}
	p.size = 0
	return errors.Join(errs...)
}

// read runs f with a connection, which ctx interrupts.
func (p *pool) read(ctx context.Context, f func(*conn) error) error {
	var c *conn
	select {
	case c = <-p.free:
	default:
		select {
		case c = <-p.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { p.free <- c }()
	defer c.interruptWith(ctx)()
	return f(c)
}
