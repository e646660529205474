package postgresserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// Bouncer starts PgBouncer in transaction mode before the server, and returns
// the URL of a database through it. It ends with the test.
func (s *Server) Bouncer(t testing.TB, database string) string {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			testkit.Missing(t, "the program pgbouncer (Debian: apt-get install pgbouncer)")
		}
	}
	dir, err := os.MkdirTemp("", "coatcheck-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port := testkit.Port(t)
	config := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = extra_float_digits,default_transaction_isolation
`, s.port, User, port)
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-q", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	url := "postgres://" + User + "@" + addr + "/" + database
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := ping(t.Context(), url)
		if err == nil {
			return url
		}
		if time.Since(start) > patience {
			t.Fatalf("pgbouncer does not answer: %v", err)
		}
	}
}
