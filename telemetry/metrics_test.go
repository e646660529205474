package telemetry_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/telemetry"
)

// target is metrics behind a listener, as Prometheus sees them.
type target struct {
	*telemetry.Metrics
	t   *testing.T
	url string
}

func newTarget(t *testing.T) *target {
	t.Helper()
	reg := prometheus.NewRegistry()
	m, err := telemetry.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(server.Close)
	return &target{Metrics: m, t: t, url: server.URL}
}

func (s *target) scrape() string {
	s.t.Helper()
	res, err := http.Get(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s, %v: %s", res.Status, err, body)
	}
	return string(body)
}

// has checks that a scrape has the lines.
func (s *target) has(lines ...string) {
	s.t.Helper()
	text := s.scrape()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			s.t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

// A manager's whole life, as the six metrics of the guide tell it.
func TestMetricsOfAManager(t *testing.T) {
	s := newTarget(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }
	store := memory.New(memory.Options{Clock: clock})
	defer store.Close()
	m, err := session.NewManager(store, session.Options{
		Policy: session.Policy{MaxPerUser: 2}, Clock: clock, Observe: s.Observe,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var ids []session.ID
	for range 4 { // the last two evict one each
		c, err := m.Create(ctx, session.CreateRequest{User: "ann@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
		now = now.Add(30 * time.Second)
	}
	if err := m.Set(ctx, ids[3], "k", strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete(ctx, ids[2]); err != nil {
		t.Fatal(err)
	}
	now = now.Add(3 * time.Hour)
	if _, err := m.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	s.has(
		`# TYPE sessions_created_total counter`,
		`sessions_created_total{kind="session"} 4`,
		`# TYPE sessions_destroyed_total counter`,
		`sessions_destroyed_total{kind="session",reason="evicted"} 2`,
		`sessions_destroyed_total{kind="session",reason="logout"} 1`,
		`sessions_destroyed_total{kind="session",reason="idle"} 1`,
		`# TYPE session_duration_seconds histogram`,
		// Each ended after a minute, the last of idleness after 2 h and a minute.
		`session_duration_seconds_bucket{kind="session",le="10"} 0`,
		`session_duration_seconds_bucket{kind="session",le="60"} 3`,
		`session_duration_seconds_bucket{kind="session",le="7200"} 3`,
		`session_duration_seconds_count{kind="session"} 4`,
		`session_duration_seconds_sum{kind="session"} 7440`,
		`# TYPE session_size_bytes histogram`,
		`session_size_bytes_count{kind="session"} 5`,
		fmt.Sprintf(`session_size_bytes_sum{kind="session"} %d`, 5*len("ann@example.com")+len("k")+1002),
		`session_size_bytes_bucket{kind="session",le="262144"} 5`,
	)
	text := s.scrape()
	for _, private := range []string{"ann", ids[0].Ref().String(), ids[0].Reveal()[29:]} {
		if strings.Contains(text, private) {
			t.Errorf("the scrape shows %q", private)
		}
	}
}

func TestLookups(t *testing.T) {
	s := newTarget(t)
	for i := range 5 {
		s.Lookup("l1", i < 3)
	}
	s.Lookup("l2", false)
	s.has(
		`# TYPE session_cache_hits_total counter`,
		`session_cache_hits_total{tier="l1"} 3`,
		`# TYPE session_cache_misses_total counter`,
		`session_cache_misses_total{tier="l1"} 2`,
		`session_cache_misses_total{tier="l2"} 1`,
	)
}

func TestExpectedSeriesExistAtZero(t *testing.T) {
	s := newTarget(t)
	if text := s.scrape(); strings.Contains(text, "session") {
		t.Errorf("before: %s", text)
	}
	s.Expect("session", "l1")
	s.has(
		`sessions_created_total{kind="session"} 0`,
		`sessions_destroyed_total{kind="session",reason="revoked"} 0`,
		`session_cache_hits_total{tier="l1"} 0`,
		`session_cache_misses_total{tier="l1"} 0`,
		`session_duration_seconds_count{kind="session"} 0`,
		`session_size_bytes_count{kind="session"} 0`,
	)
}

func TestOtherEventsCountNothing(t *testing.T) {
	s := newTarget(t)
	for _, e := range []session.EventType{
		0, session.EventExtended, session.EventReactivated, session.EventRegenerated, session.EventBindingMismatch, session.EventLimitRefused,
	} {
		s.Observe(t.Context(), session.Event{Type: e, Kind: "session"})
	}
	if text := s.scrape(); strings.Contains(text, "session") {
		t.Errorf("got %s", text)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	s := newTarget(t)
	s.Observe(t.Context(), session.Event{Type: session.EventUpdated, Kind: "session"}) // before others take its place
	var wg sync.WaitGroup
	const n = 400
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprint("x", i)
			s.Observe(t.Context(), session.Event{Type: session.EventCreated, Kind: name})
			s.Observe(t.Context(), session.Event{Type: session.EventUpdated, Kind: name})
			s.Observe(t.Context(), session.Event{Type: session.EventEnded, Kind: "session", Reason: state.Reason(name)})
			s.Lookup(name, true)
			s.Lookup(name, false)
		})
	}
	wg.Wait()
	s.Lookup("not a \"name\"\n", true)
	text := s.scrape()
	for metric, most := range map[string]int{
		"sessions_created_total{":     telemetry.MaxValues + 1,
		"sessions_destroyed_total{":   1,
		"session_cache_hits_total{":   telemetry.MaxValues + 1,
		"session_cache_misses_total{": telemetry.MaxValues + 1,
		"session_size_bytes_count{":   telemetry.MaxValues + 1,
	} {
		if got := strings.Count(text, "\n"+metric); got == 0 || got > most {
			t.Errorf("%s: %d series, at most %d", metric, got, most)
		}
	}
	s.has(fmt.Sprintf(`sessions_destroyed_total{kind="session",reason="other"} %d`, n))
	if strings.Contains(text, `not a \"name`) {
		t.Error("a value that is no name")
	}
}

func TestNewMetricsRefusesTakenNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := telemetry.NewMetrics(reg); err != nil {
		t.Fatal(err)
	}
	if _, err := telemetry.NewMetrics(reg); err == nil {
		t.Error("registered twice")
	}
	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "session_size_bytes", Help: "Mine."}))
	if _, err := telemetry.NewMetrics(taken); err == nil {
		t.Error("registered over another's name")
	}
	if got, err := taken.Gather(); err != nil || len(got) != 1 {
		t.Errorf("half of it is registered: %v, %v", got, err)
	}
	if _, err := telemetry.NewMetrics(nil); err == nil {
		t.Error("registered nowhere")
	}
}
