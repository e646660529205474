package session_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// At whatever moment the process dies, the id that the client holds opens the
// session, or the new one does: never neither, and never the old one beyond
// its grace.
func TestKillLeavesTheOldIDOrTheNewOne(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	path := filepath.Join(t.TempDir(), "kill.db")
	hit := map[string]int{} // what was under way
	for range rounds {
		h := killed(t, regenerates, path, 3+rand.IntN(120), "")
		hit[h.step]++
		if err := checkKilled(t, path, h); err != nil {
			t.Errorf("killed during %q: %v", h.step, err)
		}
	}
	t.Logf("killed during %v", hit)
}

// What is regenerated in two steps is lost when the process dies between them,
// and the check notices.
func TestKillTestDetectsRegenerationInTwoSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kill.db")
	h := killed(t, inTwoSteps, path, 0, "between")
	if err := checkKilled(t, path, h); err == nil {
		t.Error("the check passed")
	}
}

// checkKilled looks at what a killed child left, now and after every grace.
func checkKilled(t *testing.T, path string, h history) error {
	t.Helper()
	if h.step == "create" || h.held.IsZero() {
		return nil // nobody has an id
	}
	var held, candidate *session.Session
	look(t, path, 0, func(m *session.Manager) {
		held = opened(t, m, h.held)
		candidate = h.candidate(t, m, held)
	})
	if held == nil && candidate == nil {
		return fmt.Errorf("neither id works")
	}
	if held != nil && held.Superseded && candidate == nil {
		return fmt.Errorf("the old id does not lead to the new one")
	}
	if held != nil && !held.Superseded && candidate != nil && h.step != "sign-in" {
		return fmt.Errorf("both ids are current")
	}
	if held != nil && h.step == "elevate" && held.Data["role"] != nil {
		return fmt.Errorf("the old id has the new privileges")
	}
	for _, s := range []*session.Session{held, candidate} {
		if s != nil && string(s.Data["k"]) != "1" {
			return fmt.Errorf("data are lost: %s", s.Data)
		}
	}
	regenerated := held == nil || held.Superseded
	var err error
	look(t, path, childGrace+time.Second, func(m *session.Manager) {
		switch {
		case regenerated && opened(t, m, h.held) != nil:
			err = fmt.Errorf("the old id works beyond its grace")
		case regenerated && opened(t, m, candidate.ID) == nil:
			err = fmt.Errorf("the new id does not work after the grace")
		case !regenerated && opened(t, m, h.held) == nil:
			err = fmt.Errorf("the id that was not regenerated ends")
		}
	})
	return err
}

// look opens the store at a later time.
func look(t *testing.T, path string, later time.Duration, see func(*session.Manager)) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{Clock: func() time.Time { return time.Now().Add(later) }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	m, err := session.NewManager(store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	see(m)
}

// opened returns the session that the id opens, or nil.
func opened(t *testing.T, m *session.Manager, id session.ID) *session.Session {
	t.Helper()
	s, err := m.Get(t.Context(), id)
	if err == session.ErrNotFound {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// candidate returns the session that an id opens which the child may have made
// since it handed one out; nil for none.
func (h *history) candidate(t *testing.T, m *session.Manager, held *session.Session) *session.Session {
	t.Helper()
	if held != nil && held.Superseded {
		return opened(t, m, held.Next)
	}
	for _, id := range h.candidates(t, m) {
		// The predecessor of a sign-in is closed by a secret that is nobody's.
		if h.step == "sign-in" && id.Ref() == h.held.Ref() {
			continue
		}
		if s := opened(t, m, id); s != nil {
			return s
		}
	}
	return nil
}

// candidates are all ids of which the child said the secret.
func (h *history) candidates(t *testing.T, m *session.Manager) []session.ID {
	t.Helper()
	refs := []state.Ref{h.held.Ref()}
	if h.step == "sign-in" {
		for s, err := range m.List(t.Context(), session.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, s.Ref)
		}
	}
	var ids []session.ID
	for _, secret := range h.secrets {
		raw, err := hex.DecodeString(secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			if id, err := session.ParseID(ref.String() + "." + base64.RawURLEncoding.EncodeToString(raw)); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
