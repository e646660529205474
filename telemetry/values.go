package telemetry

import (
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// Other is the label value of what has no value of its own.
	Other = "other"
	// MaxValues is how many kinds, and how many tiers, have values of their
	// own.
	MaxValues = 32
)

// values are those that a label has taken. The zero value is ready.
type values struct {
	mu   sync.RWMutex // guards seen
	seen map[string]bool
}

// bound returns v if it is a name and among the first MaxValues, else Other.
func (s *values) bound(v string) string {
	s.mu.RLock()
	known := s.seen[v]
	s.mu.RUnlock()
	if known || s.admit(v) {
		return v
	}
	return Other
}

func (s *values) admit(v string) bool {
	if state.CheckName("label", v) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[v] {
		return true
	}
	if len(s.seen) == MaxValues {
		return false
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[v] = true
	return true
}
