package postgresserver

import (
	"net"
	"os/user"
	"strconv"
	"syscall"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// unprivileged returns a user to run the server as: PostgreSQL refuses to run
// as root.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	testkit.Missing(t, "a user postgres or nobody to run PostgreSQL as, which does not run as root")
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
