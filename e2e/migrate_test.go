package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// Everything moves to another store while clients work; when the server is
// started on that one, they go on as after a restart.
func TestClientsGoOnAfterAMigrationWhileTheyWorked(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		s := serve(t, t.TempDir(), "--max-sessions-per-user=0")
		from := s.args[3][len("--store="):]
		gone := open(t, s.url, "")
		const clients = 3
		ids, acknowledged := make([]string, clients), make([][]string, clients)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		for i := range clients {
			ids[i] = open(t, s.url, "")
			wg.Go(func() {
				for n := 0; ctx.Err() == nil && n < 400; n++ {
					item := fmt.Sprintf("thing %d", n)
					if !put(t, s.url, ids[i], item) {
						t.Error("an item was not acknowledged")
						return
					}
					acknowledged[i] = append(acknowledged[i], item)
				}
			})
		}
		m := launch(t, "store", "migrate", "--from="+from, "--to="+db.url, "--follow", "--interval=50ms")
		eventually(t, "the copies are there", func() bool {
			return len(objects(t, "sessions", "list", "--store="+db.url)) == clients+1
		})
		if r := send(t, http.MethodDelete, s.url, "", sessionHeaders(gone, "")); r.status != http.StatusNoContent {
			t.Errorf("DELETE: %d", r.status)
		}
		stop()
		wg.Wait()
		s.terminate()
		if status := s.wait(); status != 0 {
			t.Fatalf("the server ends with %d", status)
		}
		m.signal(syscall.SIGINT)
		if status := m.cmd.ProcessState.ExitCode(); status != 0 {
			t.Fatalf("the migration ends with %d: %s", status, m.log.String())
		}

		s = serve(t, "", "--store="+db.url)
		for i, id := range ids {
			if got := basketOf(t, s.url, id); !slices.Equal(got, acknowledged[i]) {
				t.Errorf("the basket has %d items, %d were acknowledged", len(got), len(acknowledged[i]))
			}
		}
		if r := ping(t, s.url, gone, ""); r.status != http.StatusNotFound {
			t.Errorf("a session that had ended: %d", r.status)
		}
	})
}
