package open_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func TestURLsNameStores(t *testing.T) {
	for text, want := range map[string]struct {
		scheme      open.Scheme
		path, shown string
	}{
		"memory:":              {open.Memory, "", "memory:"},
		"memory":               {open.Memory, "", "memory:"},
		"sqlite:":              {open.SQLite, open.DefaultPath, "sqlite:" + open.DefaultPath},
		"sqlite":               {open.SQLite, open.DefaultPath, "sqlite:" + open.DefaultPath},
		"sqlite:x.db":          {open.SQLite, "x.db", "sqlite:x.db"},
		"sqlite:/var/x.db":     {open.SQLite, "/var/x.db", "sqlite:/var/x.db"},
		"sqlite:///var/x.db":   {open.SQLite, "/var/x.db", "sqlite:/var/x.db"},
		"redis://ann:x@h":      {open.Redis, "", "redis://h:6379/0"},
		"redis://h:1/2?addr=i": {open.Redis, "", "redis://h:1,i:6379/2"},
		"redis://h?master=m&addr=i:7&sentinel_password=x": {open.Redis, "", "redis://h:26379,i:7/0"},
		"rediss://:x@h:1": {open.Redis, "", "rediss://h:1/0"},
		"postgres://ann:x@h:1/d?sslmode=disable&password=y":        {open.PostgreSQL, "", "postgres://h:1/d"},
		"postgres://ann:x@h1,h2/d?target_session_attrs=read-write": {open.PostgreSQL, "", "postgres://h1,h2/d"},
		"postgres://ann:x@h1:5432,[::1]:5433,h3/d?schema=s":        {open.PostgreSQL, "", "postgres://h1:5432,[::1]:5433,h3/d"},
		"postgresql://h/d": {open.PostgreSQL, "", "postgres://h/d"},
	} {
		u, err := open.Parse(text)
		if err != nil || u.Scheme() != want.scheme || u.Path() != want.path || u.String() != want.shown {
			t.Errorf("%s: %q, %q, %q, %v; want %+v", text, u.Scheme(), u.Path(), u, err, want)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if got := fmt.Sprintf(verb, u); got != want.shown {
				t.Errorf("%s printed with %s: %s", text, verb, got)
			}
		}
	}
}

const password = "hunter2"

func TestMistakesAreExplainedWithoutThePassword(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         "write memory:",
		"memory:big":                               "write memory:",
		"mysql://root:" + password + "@h":          "write memory:",
		"nats://ann:" + password + "@":             "write nats://HOST:4222",
		"nats://ann:" + password + "@h?x=y":        "not known",
		"cluster:?name=" + password:                "not available in this build",
		"sqlite://host/path":                       "write sqlite:PATH",
		"sqlite:x.db?key=" + password:              "write sqlite:PATH",
		"redis:" + password:                        "no host",
		"redis://:" + password + "@h h":            "not a URL",
		"redis://:" + password + "@h?x=y":          "not known",
		"postgres:" + password:                     "write postgres://",
		"postgres://ann:" + password + "@h h/":     "write postgres://",
		"postgres://ann:" + password + "@h1,h2:x/": "write postgres://",
		"postgres://ann:" + password + "@h1,h2/?target_session_attrs=x": "target_session_attrs",
		"postgres://ann:" + password + "@h/?connect_timeout=x":          "connect_timeout",
	} {
		_, err := open.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
	if _, err := open.Parse("cluster:"); !errors.Is(err, open.ErrNotBuilt) {
		t.Errorf("cluster: %v, want ErrNotBuilt", err)
	}
}

// A server that takes connections and says nothing is as gone as one that
// does not.
func TestAnUnreachableStoreIsNamedInTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, l := range []net.Listener{silent, gone} {
		for _, form := range []string{
			"redis://ann:%s@%s?connect_timeout=200ms&timeout=200ms",
			"redis://ann:%s@%s?connect_timeout=200ms&timeout=200ms&master=m",
			"redis://ann:%s@%s?connect_timeout=200ms&timeout=200ms&mode=cluster",
			"postgres://ann:%s@%s/d?connect_timeout=1",
		} {
			start := time.Now()
			s, err := open.Open(context.Background(), fmt.Sprintf(form, password, l.Addr()), open.Options{})
			if err == nil {
				s.Close()
				t.Errorf("%s: opened", form)
				continue
			}
			text := err.Error()
			if !errors.Is(err, state.ErrUnavailable) || !strings.Contains(text, l.Addr().String()) || strings.Contains(text, password) {
				t.Errorf("%s: %v; want an outage that names %s", form, err, l.Addr())
			}
			if took := time.Since(start); took > open.DefaultTimeout {
				t.Errorf("%s: given up after %v", form, took)
			}
		}
	}
}
