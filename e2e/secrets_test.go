package e2e

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flagOf is the value of a flag that is given as --name=value.
func flagOf(args []string, name string) string {
	for _, a := range args {
		if value, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// noteAdminToken notes the token that the arguments name a file of.
func noteAdminToken(t testing.TB, args []string) {
	t.Helper()
	if token := adminTokenOf(t, args); token != "" {
		noted.Note(token)
	}
}

func adminTokenOf(t testing.TB, args []string) string {
	t.Helper()
	path := flagOf(args, "admin-token-file")
	if path == "" {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// checkAudit searches the audit log that the arguments name, and what was
// rotated away from it.
func checkAudit(t testing.TB, args []string) {
	t.Helper()
	path := flagOf(args, "audit")
	if path == "" {
		return
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		noted.Check(t, "the audit log", string(text))
	}
}

// checkMetrics searches what the server counted, if it still runs. A server
// that is stopped or cut off does not answer; it is not waited for.
func (s *server) checkMetrics() {
	s.t.Helper()
	if s.admin == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	token := adminTokenOf(s.t, s.args)
	r, err := try(ctx, http.DefaultClient, http.MethodGet, s.admin+"/metrics", "", map[string]string{"Authorization": "Bearer " + token})
	if err == nil {
		noted.Check(s.t, "/metrics", r.body)
	}
}

// A scan that notes nothing finds nothing: each kind of client has its ids and
// tokens noted.
func TestWhatClientsHoldIsNoted(t *testing.T) {
	s, _ := serveTokens(t)
	for _, c := range clients {
		p := c.peer(t)
		if err := p.connect(s.url, annToken); err != nil {
			t.Fatal(err)
		}
		held := map[string]any{"token": annToken, "basket": ask(t, p, "create_basket", map[string]any{}).Structured["basket_id"]}
		if !c.modern {
			held["session"] = p.session()
		}
		for what, id := range held {
			if text, ok := id.(string); !ok || noted.In("a line with "+text) != 1 {
				t.Errorf("%s: its %s is not noted", c.name, what)
			}
		}
	}
	if id := open(t, s.url, bobToken); noted.In(id+" and "+bobToken) != 2 {
		t.Error("by hand: the id or the token is not noted")
	}
}
