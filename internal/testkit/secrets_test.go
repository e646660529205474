package testkit_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

const (
	plantedRef    = "0123456789abcdefghijklmnopqr"
	plantedSecret = "kJ2vQ-1b7Yw_Zx0aB3cD4eF5gH6iJ7kL8mN9oP0qR1s"
	plantedToken  = "a-bearer-token-of-somebody"
)

// scanned records whether a test would have failed.
type scanned struct {
	testing.TB
	said []any
}

func (s *scanned) Helper()                   {}
func (s *scanned) Errorf(_ string, a ...any) { s.said = append(s.said, a...) }

func TestAPlantedSecretFailsTheTestThatShowsIt(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Mcp-Session-Id", plantedRef+"."+plantedSecret)
	}))
	defer web.Close()
	var secrets testkit.Secrets
	client := &http.Client{Transport: secrets.Transport(http.DefaultTransport)}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+plantedToken)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for text, want := range map[string]int{
		"":                      0,
		"session=" + plantedRef: 0,
		plantedSecret:           1,
		"level=INFO id=" + plantedRef + "." + plantedSecret + "\n": 1,
		`{"error":"no session ` + plantedSecret + `"}`:             1,
		plantedSecret + plantedSecret:                              2,
		plantedToken + " " + plantedSecret:                         2,
		plantedSecret[1:]:                                          0,
		strings.ToUpper(plantedSecret):                             0,
		"Bearer " + plantedToken[:12]:                              0,
	} {
		probe := &scanned{}
		secrets.Check(probe, "the place", text)
		if got := secrets.In(text); got != want || (len(probe.said) > 0) != (want > 0) {
			t.Errorf("%q: found %d, said %v; want %d", text, got, probe.said, want)
		}
		if want > 0 && (probe.said[0] != "the place" || len(probe.said) != 2) {
			t.Errorf("said %v, want the place and the number alone", probe.said)
		}
	}
}

func TestALogWithASecretFailsItsTestAtTheEnd(t *testing.T) {
	var secrets testkit.Secrets
	probe := &scanned{}
	for _, planted := range []string{"", plantedSecret} {
		t.Run("", func(t *testing.T) {
			probe.TB = t
			log := slog.New(slog.NewTextHandler(secrets.Log(probe), nil))
			log.Info("before anybody has seen it", "id", planted)
			w := httptest.NewRecorder()
			secrets.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "__Host-session", Value: plantedRef + "." + plantedSecret})
			})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if len(probe.said) != 0 {
				t.Errorf("said %v before its end", probe.said)
			}
		})
	}
	if len(probe.said) != 2 || probe.said[0] != "the log" {
		t.Errorf("said %v", probe.said)
	}
}

func TestShortWordsAreNoSecrets(t *testing.T) {
	var secrets testkit.Secrets
	secrets.Note("")
	secrets.Note("garbage")
	if n := secrets.In("garbage collected"); n != 0 {
		t.Errorf("found %d", n)
	}
}

// A run logs a text and passes.
type aRun string

func (r aRun) Run() int {
	slog.Debug(string(r))
	return 0
}

func TestRunFailsIfTheDefaultLogHasASecret(t *testing.T) {
	var secrets testkit.Secrets
	secrets.Note(plantedSecret)
	for text, want := range map[string]int{"all is well": 0, "made " + plantedSecret: 1} {
		if got := secrets.Run(aRun(text)); got != want {
			t.Errorf("status %d after a log with %q, want %d", got, text, want)
		}
	}
}
