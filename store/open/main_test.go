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
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
