package postgresserver

import (
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
