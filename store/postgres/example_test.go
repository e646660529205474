package postgres_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func ExampleOpen() {
	ctx := context.Background()
	store, err := postgres.Open(ctx, "postgres://coatcheck@db.example.com/coatcheck?pool_max_conns=8", postgres.Options{
		ConnectTimeout: 2 * time.Second,
		Standbys:       1, // refuse a server that acknowledges without a standby
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	fmt.Println(store.Guarantees().Durability)
}

// The largest carts of users with a gold plan, who are in a table of the
// application's.
func ExampleStore_Find() {
	var store *postgres.Store // from Open
	carts, err := store.Find(context.Background(), postgres.Where{
		Query:   state.Query{Namespace: "shop", Kind: "session", Max: 10},
		Match:   []postgres.Match{{Path: "$.cart.items[*] ? (@.price >= $min)", Vars: map[string]any{"min": 100}}},
		Join:    "JOIN accounts a ON a.login = t.user_id",
		Cond:    "a.plan = $1",
		Args:    []any{"gold"},
		OrderBy: []postgres.Order{{Path: "$.cart.total", Desc: true}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range carts {
		fmt.Println(r.Ref, r.User)
	}
}

func ExampleStore_WithConn() {
	var store *postgres.Store // from Open
	err := store.WithConn(context.Background(), func(ctx context.Context, conn *pgx.Conn) error {
		var n int
		err := conn.QueryRow(ctx, "SELECT count(DISTINCT user_id) FROM live_sessions WHERE namespace = $1", "shop").Scan(&n)
		fmt.Println(n, "users")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
