package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/state"
)

var _ state.ReplicaSets = (*Store)(nil)

// askStandbys has a row for each standby. Whoever is not a member of
// pg_monitor sees the names only.
const askStandbys = `SELECT coalesce(application_name, ''), coalesce(host(client_addr), ''), coalesce(state = 'streaming', false),
	coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint, -1)
	FROM pg_catalog.pg_stat_replication ORDER BY 1, 2, pid`

// ReplicaSet implements [state.ReplicaSets]: the primary, and the standbys that
// are connected to it, by their application_name. It is the same for each key.
// Behind is in bytes of the log that the standby has not on disk. A role that is
// no member of pg_monitor sees no more of standbys than that they are there.
func (s *Store) ReplicaSet(ctx context.Context, key state.Key) ([]state.Node, error) {
	if err := state.CheckKey(key); err != nil {
		return nil, err
	}
	var set []state.Node
	err := s.WithConn(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		cfg := conn.Config()
		set = append(set, state.Node{
			Name: net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), Leader: true, Connected: true,
		})
		rows, err := conn.Query(ctx, askStandbys, pgx.QueryExecModeExec)
		if err != nil {
			return err
		}
		standbys, err := pgx.CollectRows(rows, readStandby)
		set = append(set, standbys...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the standbys: %w", unavailable("read", err))
	}
	return set, nil
}

func readStandby(row pgx.CollectableRow) (state.Node, error) {
	var n state.Node
	var host string
	err := row.Scan(&n.Name, &host, &n.Connected, &n.Behind)
	if host != "" {
		n.Name += " at " + host
	}
	if n.Behind >= 0 && !n.Connected {
		n.Behind = -1 // it catches up, from a place of its own
	}
	return n, err
}
