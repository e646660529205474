package accounts_test

import (
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
)

func TestVerify(t *testing.T) {
	a, err := accounts.New(map[string]string{"ann": "correct horse"}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"ann", "correct horse", true}, {"ann", "Correct horse", false}, {"ann", "", false},
		{"bob", "correct horse", false}, {"", "", false}, {"ann", strings.Repeat("x", 1<<20), false},
	} {
		if got, err := a.Verify(t.Context(), c.user, c.password); err != nil || got != c.want {
			t.Errorf("%q: %v %v", c.user, got, err)
		}
	}
}

func TestNewRefusesEmptyPasswords(t *testing.T) {
	if _, err := accounts.New(map[string]string{"ann": ""}, 1000); err == nil {
		t.Error("an empty password was accepted")
	}
}
