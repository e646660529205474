package arch

// module is the path of this module.
const module = "github.com/coatcheck-mcp/coatcheck"

// rows are the packages from the bottom to the top. A package may import what
// stands in a row before its own, and what lies in its own folder; not its
// neighbours in the row. A folder stands for what lies in it, unless that has
// a row itself. What is tests and tools alone, and imported by nothing, stands
// in the last row.
func rows() [][]string {
	return [][]string{
		{"state"},
		{"keyring", "store/cache", "store/internal"},
		{"store/memory", "store/sqlite", "store/redis", "store/postgres", "store/nats"},
		{"store/encrypted", "store/tiered", "store/batched", "store/migrate"},
		{"store/open"},
		{"session"},
		// The suite runs the guide's tests too, and those go through a Manager.
		{"state/statetest"},
		{"telemetry", "auth", "audit"},
		{"cluster"},
		{"mcp/streamable"},
		{"mcp/gosdk", "mcp/mcpgo", "mcp/handle", "mcp/requeststate", "mcp/tasks", "web"},
		{"proxy", "admin", "internal/sample"},
		{"cmd", "examples", "e2e", "bench", "internal/testkit", "internal/arch"},
	}
}

// owners says which packages may import what comes from outside. A module that
// is not named may be imported by all but state and session.
func owners() map[string][]string {
	return map[string][]string{
		"github.com/ncruces/go-sqlite3":          {"store/sqlite"},
		"github.com/redis/rueidis":               {"store/redis"},
		"github.com/jackc/pgx":                   {"store/postgres", "internal/testkit/postgresserver", "bench"},
		"github.com/nats-io":                     {"store/nats", "cluster", "internal/testkit/natsserver"},
		"github.com/maypok86/otter":              {"store/cache"},
		"github.com/prometheus":                  {"telemetry", "cmd"},
		"go.opentelemetry.io":                    {"telemetry", "cmd"},
		"github.com/modelcontextprotocol/go-sdk": {"mcp/gosdk", "auth", "internal/sample", "cmd", "examples", "e2e", "bench", "mcp/handle", "mcp/requeststate", "mcp/tasks"},
		"github.com/go-jose/go-jose":             {"auth"},
		"github.com/mark3labs/mcp-go":            {"mcp/mcpgo", "e2e", "bench"},
		"github.com/alecthomas/kong":             {"cmd"},
		"pgregory.net/rapid":                     {"state/statetest"},
		"github.com/anishathalye/porcupine":      {"state/statetest", "internal/testkit"},
		"go.uber.org/goleak":                     {},
		"github.com/chromedp":                    {},
		"testing":                                {"state/statetest", "internal/testkit"},
		"github.com/ncruces/go-sqlite3-wasm":     {"store/sqlite"},
	}
}

// pure are the packages that import the standard library and one another
// alone: state only the standard library, session that and state.
func pure() map[string]bool { return map[string]bool{"state": true, "session": true} }
