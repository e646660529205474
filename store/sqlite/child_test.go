package sqlite

import "os"

// childRole is the environment variable that makes the test binary play
// another process.
const childRole = "COATCHECK_SQLITE_TEST_CHILD"

func runChild(role string) int {
	os.Stderr.WriteString("unknown role " + role + "\n")
	return 2
}
