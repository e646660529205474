package open_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgresserver.StopShared()
	if code == 0 {
		// Redis's client looks at its cluster a moment after a failure, closed
		// or not; it takes a second at most.
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
