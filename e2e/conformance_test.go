package e2e

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/internal/sample/everything"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// score is what the suite says of one scenario.
type score struct{ passed, failed int }

// scenarioLine is a line of the suite's summary.
var scenarioLine = regexp.MustCompile(`(?m)^[✓✗] ([a-z0-9-]+): (\d+) passed, (\d+) failed`)

// conformance runs the official suite and returns its scores, by scenario.
func conformance(t *testing.T, args ...string) (map[string]score, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	suite := filepath.Join(testkit.Clients(t), "node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
	cmd := exec.CommandContext(ctx, testkit.Node(t), append([]string{suite, "server"}, args...)...)
	cmd.Dir = t.TempDir() // it writes its results there
	out, err := cmd.CombinedOutput()
	// It exits 1 if anything failed; what did is in the summary.
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("conformance suite: %v\n%s", err, out)
	}
	scores := map[string]score{}
	for _, m := range scenarioLine.FindAllSubmatch(bytes.ReplaceAll(out, []byte("\r"), nil), -1) {
		passed, _ := strconv.Atoi(string(m[2]))
		failed, _ := strconv.Atoi(string(m[3]))
		scores[string(m[1])] = score{passed, failed}
	}
	if len(scores) == 0 {
		t.Fatalf("the conformance suite scored nothing:\n%s", out)
	}
	return scores, string(out)
}

// expectedToFail are the scenarios that may fail, and why. They are all
// unscored: the suite runs them beside what a revision requires.
func expectedToFail(scenario string) (why string, ok bool) {
	if strings.HasPrefix(scenario, "tasks-") {
		return "the tasks extension is not offered, by the SDK's own server neither", true
	}
	return "", false
}

// TestConformance scores the binary, both eras on one endpoint, and beside it
// the same MCP server behind the SDK's own handler: stateful for 2025-11-25,
// stateless for 2026-07-28. No scenario may score worse, nor the whole worse
// than what the SDK's own everything-server was seen to score.
func TestConformance(t *testing.T) {
	s := serve(t, t.TempDir(), "--sample=conformance")
	for _, c := range []struct {
		revision  string
		stateless bool
		least     int
	}{{"2025-11-25", false, 82}, {"2026-07-28", true, 165}} {
		t.Run(c.revision, func(t *testing.T) {
			ours, output := conformance(t, "--url", s.url, "--requirements", c.revision)
			sdk, _ := conformance(t, "--url", serveBySDK(t, c.stateless), "--requirements", c.revision)
			passed := 0
			for scenario, theirs := range sdk {
				s := ours[scenario]
				passed += s.passed
				if s.passed < theirs.passed || s.failed > theirs.failed {
					t.Errorf("%s: %d passed, %d failed; with the SDK's own handler %d and %d", scenario, s.passed, s.failed, theirs.passed, theirs.failed)
				}
				if _, ok := expectedToFail(scenario); s.failed > 0 && !ok {
					t.Errorf("%s: %d passed, %d failed", scenario, s.passed, s.failed)
				}
			}
			if passed < c.least {
				t.Errorf("%d checks passed, the SDK's own server passes %d", passed, c.least)
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}

// serveBySDK serves the conformance sample through the SDK's own handler, which
// has to be told the era.
func serveBySDK(t *testing.T, stateless bool) string {
	t.Helper()
	server, err := everything.New("test")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: stateless}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// TestConformanceOfTheShop looks at the scenarios that need none of the suite's
// own tools.
func TestConformanceOfTheShop(t *testing.T) {
	s := serve(t, t.TempDir())
	for revision, scenarios := range map[string][]string{
		"2025-11-25": {
			"server-initialize", "server-session-lifecycle", "ping", "logging-set-level", "tools-list", "resources-list",
			"dns-rebinding-protection",
		},
		"2026-07-28": {"tools-list", "resources-list", "dns-rebinding-protection", "caching", "http-header-validation", "sep-2164-resource-not-found"},
	} {
		t.Run(revision, func(t *testing.T) {
			scores, output := conformance(t, "--url", s.url, "--requirements", revision)
			for _, scenario := range scenarios {
				if s := scores[scenario]; s.failed > 0 || s.passed == 0 {
					t.Errorf("%s: %d passed, %d failed", scenario, s.passed, s.failed)
				}
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}
