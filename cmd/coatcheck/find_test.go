package main

import (
	"crypto/rand"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// shoppers fills a database with sessions of which each user's total differs,
// and with a table of somebody else's, and returns its URL.
func shoppers(t *testing.T) string {
	t.Helper()
	server := postgresserver.Start(t, postgresserver.Options{})
	server.Exec(t, "postgres", "CREATE DATABASE shop")
	url := server.URL("shop")
	s, err := postgres.Open(t.Context(), url, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for user, cart := range map[string]string{"ann": `{"total": 120}`, "bob": `{"total": 30}`, "eve": `{"total": 75, "coupon": "HAT"}`} {
		ref, err := state.NewRef(1, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r := state.Record{Namespace: "default", Kind: "session", Ref: ref, User: user, Data: map[string]json.RawMessage{"cart": json.RawMessage(cart)}}
		r.Meta.Address = netip.MustParseAddr(map[string]string{"ann": "10.1.2.3", "bob": "10.1.2.4", "eve": "192.0.2.1"}[user])
		if _, err := state.Do(t.Context(), s, state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	server.Exec(t, "shop", "CREATE TABLE accounts (login text, plan text)")
	server.Exec(t, "shop", "INSERT INTO accounts VALUES ('ann', 'gold'), ('bob', 'gold')")
	return url
}

func TestFindAsksTheDatabase(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	url := shoppers(t)
	for _, c := range []struct {
		name string
		args []string
		want []string // users, in order
	}{
		{"all, by user", []string{"--order-by=user"}, []string{"ann", "bob", "eve"}},
		{"a path with a variable", []string{"--path=$.cart.total ? (@ > $min)", "--var=min=50", "--order-by=user"}, []string{"ann", "eve"}},
		{"two paths", []string{"--path=$.cart.total ? (@ > 50)", "--path=$.cart.coupon"}, []string{"eve"}},
		{"a text as variable", []string{"--path=$.cart ? (@.coupon == $c)", `--var=c="HAT"`}, []string{"eve"}},
		{"sorted by data", []string{"--order-by=$.cart.total desc"}, []string{"ann", "eve", "bob"}},
		{"a page of it", []string{"--order-by=$.cart.total", "--max=1", "--offset=1"}, []string{"eve"}},
		{"a user", []string{"--user=bob"}, []string{"bob"}},
		{"a network", []string{"--address=10.0.0.0/8", "--order-by=address desc"}, []string{"bob", "ann"}},
		{"age", []string{"--created-before=1h"}, nil},
		{"last access", []string{"--accessed-after=1h", "--order-by=user desc"}, []string{"eve", "bob", "ann"}},
		{"a join", []string{"--join=JOIN accounts a ON a.login = t.user_id", "--where=a.plan = 'gold'", "--order-by=user"}, []string{"ann", "bob"}},
		{"another kind", []string{"--kind=basket"}, nil},
		{"expired", []string{"--expired"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"sessions", "find", "--json", "--store=" + url}, c.args...)
			stdout, stderr, status := command(t, args...)
			if status != exitOK {
				t.Fatalf("status %d: %s", status, stderr)
			}
			var users []string
			for line := range strings.Lines(stdout) {
				var r admin.Session
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				users = append(users, r.User)
			}
			if !slices.Equal(users, c.want) {
				t.Errorf("found %v, want %v", users, c.want)
			}
		})
	}
	listed, _, _ := command(t, "sessions", "list", "--json", "--store="+url, "--user=ann")
	found, _, _ := command(t, "sessions", "find", "--json", "--store="+url, "--user=ann")
	if listed == "" || listed != found {
		t.Errorf("list prints %q, find %q", listed, found)
	}
	if table, _, _ := command(t, "sessions", "find", "--store="+url, "--user=ann"); !strings.Contains(table, "ann") || !strings.HasPrefix(table, "REF") {
		t.Errorf("as a table: %q", table)
	}
	expectMistake(t, "jsonpath", "sessions", "find", "--store="+url, "--path=$.cart ?? nonsense")
	expectMistake(t, "no_such_column", "sessions", "find", "--store="+url, "--where=t.no_such_column = 1")
}

func TestFindSaysWhereItCannotLook(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	expectMistake(t, "--store postgres://", "sessions", "find", "--store=sqlite:x.db")
	expectMistake(t, "NAME=JSON", "sessions", "find", "--store=postgres://u@127.0.0.1/d", "--path=$.a", "--var=min")
	expectMistake(t, "--path", "sessions", "find", "--store=postgres://u@127.0.0.1/d", "--var=min=1")
	expectMistake(t, "last_accessed", "sessions", "find", "--store=postgres://u@127.0.0.1/d", "--order-by=size")
	expectMistake(t, "--max", "sessions", "find", "--store=postgres://u@127.0.0.1/d", "--max=0")

	server := postgresserver.Start(t, postgresserver.Options{})
	key := writeFile(t, "key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	_, stderr, status := command(t, "sessions", "find", "--store="+server.URL("postgres"), "--encryption-key="+key, "--path=$.cart")
	if status != exitError || !strings.Contains(stderr, "encrypted") || !strings.Contains(stderr, "sessions list") {
		t.Errorf("an encrypted store: status %d, %q", status, stderr)
	}
}

func TestShowSaysWhereARecordIs(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	url := shoppers(t)
	out, errOut, status := command(t, "sessions", "list", "--store="+url, "--user=ann", "--json")
	if status != exitOK {
		t.Fatal(errOut)
	}
	var listed struct{ Ref string }
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		t.Fatal(err)
	}
	address := url[strings.LastIndex(url, "@")+1 : strings.LastIndex(url, "/")]
	if out, errOut, _ = command(t, "sessions", "show", "--store="+url, listed.Ref); !strings.Contains(out, address+", leader") {
		t.Errorf("no leader %s in %s%s", address, out, errOut)
	}
}

func TestNodesAreDescribed(t *testing.T) {
	for want, n := range map[string]state.Node{
		"a:1, leader":      {Name: "a:1", Leader: true, Connected: true},
		"a:1, catching up": {Name: "a:1", Behind: -1},
		"a:1, connected":   {Name: "a:1", Connected: true, Behind: -1},
		"a:1, 42 behind":   {Name: "a:1", Connected: true, Behind: 42},
	} {
		if got := describeNode(&n); got != want {
			t.Errorf("%+v: %q, want %q", n, got, want)
		}
	}
}
