package session

import "github.com/coatcheck-mcp/coatcheck/state"

// View returns the session that a record is, for records that a query of the
// store's own has found. Unlike List it does not look at the record's kind.
func (m *Manager) View(r *state.Record) *Session { return m.session(ID{}, r) }
