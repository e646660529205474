package session_test

import (
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// What strangers can measure: an id that was never issued, one with another
// secret, and somebody else's are refused by the same look-ups, in turn within
// one run. The ratios to the first are what matters.
func BenchmarkRefusals(b *testing.B) {
	store := memory.New(memory.Options{})
	defer store.Close()
	m, err := session.NewManager(store, session.Options{})
	if err != nil {
		b.Fatal(err)
	}
	create := func() session.ID {
		s, err := m.Create(b.Context(), session.CreateRequest{User: "ann"})
		if err != nil {
			b.Fatal(err)
		}
		return s.ID
	}
	unknown, held, other := create(), create(), create()
	if err := m.Delete(b.Context(), unknown); err != nil {
		b.Fatal(err)
	}
	mixed, err := session.ParseID(held.Ref().String() + other.Reveal()[len(other.Ref().String()):])
	if err != nil {
		b.Fatal(err)
	}
	elsewhere := memory.New(memory.Options{})
	defer elsewhere.Close()
	n, err := session.NewManager(elsewhere, session.Options{})
	if err != nil {
		b.Fatal(err)
	}
	never, err := n.Create(b.Context(), session.CreateRequest{User: "ann"})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		id   session.ID
	}{{"never-issued", never.ID}, {"ended", unknown}, {"other-secret", mixed}, {"other-user", held}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Access(b.Context(), c.id, "eve"); err != session.ErrNotFound {
					b.Fatal(err)
				}
			}
		})
	}
}
