package urlparam_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/store/internal/urlparam"
)

func read(t *testing.T, query string) *urlparam.Params {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return urlparam.New(values, func(what, why string) error { return fmt.Errorf("%s: %s", what, why) })
}

func TestParametersAreReadByName(t *testing.T) {
	p := read(t, "name=shop&streams=4&timeout=2s&addr=a&addr=b")
	if name := p.Text("name"); name != "shop" {
		t.Errorf("name %q", name)
	}
	if n := p.Number("streams", 1); n != 4 {
		t.Errorf("streams %d", n)
	}
	if d := p.Duration("timeout"); d != 2*time.Second {
		t.Errorf("timeout %v", d)
	}
	if all := p.Texts("addr"); !slices.Equal(all, []string{"a", "b"}) {
		t.Errorf("addr %v", all)
	}
	if p.Text("none") != "" || p.Number("none", 1) != 0 || p.Duration("none") != 0 || p.TLS(false, "tls") != nil {
		t.Error("what is not there has a value")
	}
	if err := p.Done(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsSaidOfItsParameter(t *testing.T) {
	for query, says := range map[string]string{
		"text=a&text=b": "text: given twice", "text=": "text: empty", "number=x": "number: is not a number", "number=0": "from 1 on",
		"duration=5": "duration: is not a positive duration", "duration=-1s": "duration:", "other=1": `"other" is not known`,
		"ca=/no/such/file": "ca: is not a readable PEM", "cert=/no/such/file": "cert and key:",
	} {
		p := read(t, query)
		p.Text("text")
		p.Number("number", 1)
		p.Duration("duration")
		p.TLS(true, "tls")
		if err := p.Done(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", query, err, says)
		}
	}
}

func TestFilesOfTLSAreForTLS(t *testing.T) {
	for _, query := range []string{"ca=x", "cert=x", "key=x"} {
		p := read(t, query)
		p.TLS(false, "rediss")
		if err := p.Done(); err == nil || !strings.Contains(err.Error(), "rediss") {
			t.Errorf("%s: %v, want the scheme", query, err)
		}
	}
}

func TestTheFirstErrorCounts(t *testing.T) {
	p := read(t, "b=1")
	p.Fail("a", "first")
	p.Fail("b", "second")
	if err := p.Done(); !strings.Contains(err.Error(), "first") || errors.Unwrap(err) != nil {
		t.Errorf("got %v", err)
	}
}
