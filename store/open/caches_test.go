package open_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/open"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

func TestCachesAreNamedInOrder(t *testing.T) {
	for text, want := range map[string]struct {
		shown string
		tiers []string
	}{
		"l1=64MiB":   {"l1=64MiB", []string{"l1", "l3"}},
		"l1=1000000": {"l1=1000000", []string{"l1", "l3"}},
		"l1=64MiB,l2=redis://ann:hunter2@h?addr=i": {"l1=64MiB,l2=redis://h:6379,i:6379/0", []string{"l1", "l2", "l3"}},
		"l1=rediss://:hunter2@h:1/2":               {"l1=rediss://h:1/2", []string{"l1", "l3"}},
	} {
		c, err := open.ParseCaches(text)
		if err != nil || c.String() != want.shown || !slices.Equal(c.Tiers(), want.tiers) || c.Len() != len(want.tiers)-1 {
			t.Errorf("%s: %q, %v, %v; want %v", text, c, c.Tiers(), err, want)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if got := fmt.Sprintf(verb, c); strings.Contains(got, password) {
				t.Errorf("%s printed with %s: %s", text, verb, got)
			}
		}
	}
	if got := (open.Caches{}).Tiers(); !slices.Equal(got, []string{"l1"}) {
		t.Errorf("without caches: %v", got)
	}
}

func TestCachesThatMakeNoSenseAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "write l1=64MiB",
		"64MiB":                   "named l1",
		"l2=64MiB":                "named l1",
		"l1=64MiB,l3=redis://h":   "named l2",
		"l1=64MiB,l2=64MiB":       "only the first tier",
		"l1=redis://h,l2=64MiB":   "only the first tier",
		"l1=":                     "is no size",
		"l1=0":                    "is no size",
		"l1=-1MiB":                "is no size",
		"l1=64MiBs":               "is no size",
		"l1=1.5GiB":               "is no size",
		"l1=9999999999GiB":        "is no size",
		"l1=99999999999999999999": "is no size",
		"l1=64MiB,l2=postgres://ann:" + password + "@h": "in the process or in Redis",
		"l1=64MiB,l2=redis://:" + password + "@h?x=y":   "not known",
		"l1=64MiB,l2=redis://:" + password + "@h h":     "not a URL",
		"l1=64MiB,l2=redis://h,l3=redis://i":            "too many",
	} {
		_, err := open.ParseCaches(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "1b": 1, "2KiB": 2048, "64MiB": 64 << 20, "64mib": 64 << 20, "1GiB": 1 << 30, "3kb": 3000, "4MB": 4e6, "5GB": 5e9,
	} {
		if got, err := open.ParseSize(text); err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", text, got, err, want)
		}
	}
}

func caches(t testing.TB, text string) open.Caches {
	t.Helper()
	c, err := open.ParseCaches(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// All wrappers at once keep the contract, in the order in which open puts them.
func TestTheWholeStackKeepsTheContract(t *testing.T) {
	h := statetest.Harness{OwnClock: true, Open: func(t testing.TB, _ *statetest.Clock) state.Store {
		return mustOpen(t, "memory:", open.Options{Ring: newRing(t), Caches: caches(t, "l1=1MiB"), Batch: &batched.Options{}})
	}}
	statetest.Run(t, h)
	statetest.RunEvents(t, h)
}

// lookups counts what OnLookup hears.
type lookups struct {
	mu    sync.Mutex
	count map[string]int
}

func (l *lookups) heard(tier string, hit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == nil {
		l.count = map[string]int{}
	}
	l.count[fmt.Sprintf("%s %v", tier, hit)]++
}

func (l *lookups) of(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[what]
}

func TestReadsAreCountedByTier(t *testing.T) {
	everywhere(t, func(t *testing.T, url string) {
		for _, ring := range []*keyring.Ring{nil, newRing(t)} {
			var seen lookups
			s := mustOpen(t, url, open.Options{Ring: ring, Caches: caches(t, "l1=1MiB"), OnLookup: seen.heard})
			key := leave(t, s, "ann")
			// The first read begins the watch; copies are kept from then on.
			eventually(t, "a read is answered by the cache", func() bool {
				if _, err := s.Get(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				return seen.of("l1 true") > 0
			})
			if seen.of("l1 false") == 0 || seen.of("l3 true") == 0 || seen.of("l2 true") != 0 {
				t.Errorf("counted %v", seen.count)
			}
			if got, want := s.Guarantees().Staleness, tiered.DefaultStaleness; got < want {
				t.Errorf("staleness %v is declared, want %v", got, want)
			}
		}
	})
}

func TestSQLitesOwnCacheIsCountedWithoutOthers(t *testing.T) {
	var seen lookups
	s := mustOpen(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"), open.Options{OnLookup: seen.heard})
	key := leave(t, s, "ann")
	for range 2 {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if seen.of("l1 true") == 0 {
		t.Errorf("counted %v", seen.count)
	}
}

// goleak sees what is left running.
func TestAStoreWhoseCachesCannotBeMadeIsClosed(t *testing.T) {
	opts := open.Options{
		Caches: caches(t, "l1=1MiB"), Tiered: tiered.Options{Staleness: 1},
		Batch: &batched.Options{WriteBehind: &batched.WriteBehind{}},
	}
	if s, err := open.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), opts); err == nil {
		s.Close()
		t.Error("opened with a staleness of a nanosecond")
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
