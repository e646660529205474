package sqlite

import (
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// begin starts a transaction that holds the write lock.
func (w *writer) begin() (*tx, error) {
	if err := w.conn.query("BEGIN IMMEDIATE").exec(); err != nil {
		return nil, err
	}
	x := &tx{conn: w.conn, store: w.store}
	if w.store.cache != nil {
		w.store.cache.beginWrite()
	}
	pos, err := w.conn.int64(selectPosition)
	if err != nil {
		w.rollback()
		return nil, err
	}
	x.before = pos
	x.now = w.store.clock.now()
	return x, nil
}

// commit makes the transaction durable, and then known. If it fails, the
// transaction is over, and the error is that for the callers.
func (w *writer) commit(x *tx) error {
	err := x.finish()
	if err == nil {
		err = w.conn.query("COMMIT").exec()
	} else {
		w.rollback()
		return w.store.failure("write", err)
	}
	if err != nil {
		w.rollback()
		return w.settle(err)
	}
	if !x.wrote {
		return nil
	}
	if w.store.cache != nil {
		w.store.cache.committed(x)
	}
	w.store.hub.publish(x.before, x.changes)
	return nil
}

// rollback ends the transaction, unless SQLite has done so already.
func (w *writer) rollback() {
	if w.conn.db.GetAutocommit() {
		return
	}
	if err := w.conn.query("ROLLBACK").exec(); err != nil {
		w.store.opts.Logger.Error("cannot roll back", "error", err)
	}
}

// settle returns the error of a commit that failed. The transaction is not
// visible, but if its last frame reached the log, whose sync failed, it would
// be after a crash. The next commit overwrites it, so settle makes one.
func (w *writer) settle(cause error) error {
	if isFull(cause) { // the last frame was not written
		return w.store.failure("commit", cause)
	}
	err := w.overwrite()
	if err == nil {
		return w.store.failure("commit", cause)
	}
	return fmt.Errorf("commit: %w: %s: %w", state.ErrUnknownOutcome, w.store.path, errors.Join(cause, err))
}

func (w *writer) overwrite() error {
	x, err := w.begin()
	if err != nil {
		return err
	}
	if err := x.noteChange(change{pos: x.position() + 1, typ: changeOther}); err != nil {
		w.rollback()
		return err
	}
	if err := w.conn.query("COMMIT").exec(); err != nil {
		w.rollback()
		return err
	}
	w.store.hub.publish(x.before, x.changes)
	return nil
}
