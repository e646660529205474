package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// commitSetting is the synchronous_commit by which a connection keeps a level.
func commitSetting(level state.Replication) string {
	switch level {
	case state.ReplicateNone, state.ReplicateLeader:
		return "local"
	case state.ReplicateQuorum:
		return "on"
	case state.ReplicateAll:
		return "remote_apply" // so that each standby shows it, too
	}
	return ""
}

// askStanding is scanned into a standing.
const askStanding = `SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
	(SELECT count(*) FROM pg_catalog.pg_stat_replication)`

// A standing is what a server says of whom its commits wait for.
type standing struct {
	commit, names string
	connected     int // standbys, at the moment
}

// followers returns how many standbys there are meant to be, and for how many
// of them a commit waits until they have it on disk.
func (st standing) followers() (n, waits int) {
	k, listed, all := synchronous(st.names)
	n = listed
	if all {
		n = max(k, st.connected)
	}
	if st.commit != "on" && st.commit != "remote_apply" {
		return n, 0
	}
	return n, k
}

// level returns the level that is in force where none was asked for.
func (st standing) level() state.Replication {
	n, waits := st.followers()
	switch {
	case waits > 0 && waits >= state.ReplicateQuorum.Followers(n):
		return state.ReplicateQuorum
	case waits > 0 || st.connected > 0:
		return state.ReplicateLeader
	}
	return ""
}

// need returns how many standbys must have a write at a level.
func (st standing) need(level state.Replication) int {
	n, _ := st.followers()
	return level.Followers(max(n, 1))
}

// check returns an error if commits do not wait for so many.
func (st standing) check(level state.Replication, need int) error {
	_, waits := st.followers()
	if waits >= need {
		return nil
	}
	return &levelError{fmt.Sprintf("replication %s needs commits that wait for %d synchronous standbys, and these wait for %d "+
		"(synchronous_standby_names '%s', synchronous_commit %s): set synchronous_standby_names, for example to 'ANY %d (*)', "+
		"or ask for replication leader", level, need, waits, st.names, st.commit, need)}
}

// levelError says that a server would acknowledge before a level is reached.
// Nothing was written.
type levelError struct{ why string }

func (e *levelError) Error() string { return e.why }

var standbyMethod = regexp.MustCompile(`(?is)^\s*(?:ANY\s+|FIRST\s+)?(\d+)\s*\((.*)\)\s*$`)

// synchronous reads the setting synchronous_standby_names: for how many
// standbys a commit waits, how many are listed, and whether any other will do.
func synchronous(names string) (waits, listed int, all bool) {
	list := strings.TrimSpace(names)
	if list == "" {
		return 0, 0, false
	}
	waits = 1
	if m := standbyMethod.FindStringSubmatch(list); m != nil {
		k, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, 0, false
		}
		waits, list = k, m[2]
	}
	quoted := false
	listed = 1
	for i, c := range list {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			listed++
		case c == '*' && !quoted && strings.Trim(list[i+1:], " \t\n") == "" || c == '*' && strings.HasPrefix(list[i+1:], ","):
			all = true
		}
	}
	return waits, listed, all
}

// A promise is the level in force, and for how many standbys it takes commits
// to wait.
type promise struct {
	level state.Replication
	need  int
}

// promised is what the server promised when it was last asked.
func (s *Store) promised() promise {
	if p := s.standing.Load(); p != nil {
		return *p
	}
	return promise{}
}

// take takes what a server says of itself: an error if that is not enough for
// the level that was asked for. Where none was, the level is the server's.
func (s *Store) take(st standing) error {
	p := s.promised()
	if asked := s.opts.Replication; asked != "" {
		if p.level == "" { // the first time
			p = promise{asked, st.need(asked)}
		}
		s.standing.Store(&p)
		return st.check(p.level, p.need)
	}
	level := st.level()
	if p.level != "" && p.level != level {
		s.opts.Logger.Warn("replication level changed", "from", p.level, "to", level)
	}
	s.standing.Store(&promise{level, st.need(level)})
	return nil
}

// Keys of what is kept with a connection.
const (
	lookedKey      = "coatcheck looked"      // when its server was found to do, a time.Time
	unconfirmedKey = "coatcheck unconfirmed" // set when a commit was acknowledged without its standbys
)

// relook is for how long a server is believed to keep the level: after a
// failover it is another one, and its settings may be changed while it runs.
const relook = 2 * time.Second

// keeps returns an error unless commits on the connection keep the level that
// was asked for.
func (s *Store) keeps(ctx context.Context, conn *pgx.Conn) error {
	kept := conn.PgConn().CustomData()
	if at, ok := kept[lookedKey].(time.Time); ok && time.Since(at) < relook {
		return nil
	}
	var st standing
	if err := conn.QueryRow(ctx, askStanding).Scan(&st.commit, &st.names, &st.connected); err != nil {
		return err
	}
	if err := s.take(st); err != nil {
		return err
	}
	kept[lookedKey] = time.Now()
	return nil
}

// note remembers that a commit does not have the standbys that it waited for,
// because somebody ended the wait. It is called for each notice of a server.
func note(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[unconfirmedKey] = true
	}
}

// cancelPatience bounds how long a server may take to end what is cancelled.
const cancelPatience = 2 * time.Second

// commitOn runs a statement that writes. When its time is over while it waits
// for standbys, the server is asked to end the wait: then it says that it has
// the write, and no connection is left waiting there.
func (s *Store) commitOn(ctx context.Context, conn *pgx.Conn, sql string, args *params, f func(*row) error) error {
	if err := s.keeps(ctx, conn); err != nil {
		return unsent{err}
	}
	if s.promised().need == 0 {
		return queryOn(ctx, conn, sql, args, f)
	}
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		short, done := context.WithTimeout(hard, cancelPatience)
		defer done()
		if conn.PgConn().CancelRequest(short) != nil {
			cancel()
			return
		}
		time.AfterFunc(cancelPatience, cancel)
	})
	err := queryOn(hard, conn, sql, args, f)
	ended := !stop()
	if ended {
		<-asked
		disconnect(conn) // the cancellation may be under way to whatever comes next
	}
	unconfirmed := conn.PgConn().CustomData()[unconfirmedKey] != nil
	if unconfirmed {
		delete(conn.PgConn().CustomData(), unconfirmedKey)
	}
	if err == nil && (ended || unconfirmed) {
		return fmt.Errorf("%w: PostgreSQL has it, and too few synchronous standbys confirmed it in time", state.ErrBelowLevel)
	}
	return err
}

func belowLevel(err error) bool { return errors.Is(err, state.ErrBelowLevel) }
