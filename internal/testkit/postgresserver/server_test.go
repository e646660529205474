package postgresserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
)

func TestServerSurvivesKillAndPause(t *testing.T) {
	s := postgresserver.Start(t, postgresserver.Options{Sync: true})
	url := s.Database(t)
	s.Exec(t, "postgres", "CREATE TABLE kept (n int)")
	s.Kill(t)
	s.Restart(t)
	s.Exec(t, "postgres", "INSERT INTO kept VALUES (1)")

	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	s.Pause(t)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := conn.Ping(ctx); err == nil {
		t.Error("a paused server answers")
	}
	s.Resume(t)
	s.Exec(t, "postgres", "INSERT INTO kept VALUES (2)")
}
