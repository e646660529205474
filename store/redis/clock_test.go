package redis_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// The client's clock may jump as it likes: nothing that is stored or judged is
// taken from it. What looks at it measures short spans, on the monotonic clock.
func TestClientsClockIsAskedOnlyForSpans(t *testing.T) {
	spans := map[string]string{
		"watch.go": "beats", "hub.go": "pauses", "wait.go": "how long a number of replicas is believed",
		"cache.go": "for how long a silent cache is not asked",
	}
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since" || sel.Sel.Name == "Until") {
				found++
				if spans[name] == "" {
					t.Errorf("%v: asks the client's clock", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("found no use of the clock at all: the search is broken")
	}
}

func TestTimesAreTheServers(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	before := serverTime(t, server)
	r, err := s.Get(context.Background(), create(t, s, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	after := serverTime(t, server)
	if r.Created.Before(before) || r.Created.After(after) {
		t.Errorf("created at %v, but the server's time was from %v to %v", r.Created, before, after)
	}
}

func serverTime(t *testing.T, s *redisserver.Server) time.Time {
	t.Helper()
	sec, usec, _ := strings.Cut(s.Do("TIME"), "\n")
	a, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	b, err := strconv.ParseInt(usec, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(a*1000 + b/1000)
}
